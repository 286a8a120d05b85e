"""Data loaders of a semantic segmentation set in mmsegmentation's usual recipe, for use in configs."""

from __future__ import annotations


def train_loader(
    dataset: dict,
    scale: tuple[int, int],
    crop_size: tuple[int, int],
    ratio_range: tuple[float, float] = (0.5, 2.0),
    **fields,
) -> dict:
    """Multi-scale crops, flipped and with their colours distorted; two images on each GPU.

    Args:
        dataset: the set's config, without a pipeline.
        scale: longest and shortest side of a resized image, pixels, before ``ratio_range`` multiplies them.
        crop_size: (height, width) of a crop, pixels.
        ratio_range: least and largest factor of the random size.
        **fields: further or other entries of the loader (``batch_size``, say).
    """
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations"),
        dict(type="RandomResize", scale=scale, ratio_range=ratio_range, keep_ratio=True),
        dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
        dict(type="RandomFlip", prob=0.5),
        dict(type="PhotoMetricDistortion"),
        dict(type="PackSegInputs"),
    ]
    loader = dict(
        batch_size=2,
        num_workers=4,
        persistent_workers=True,
        sampler=dict(type="InfiniteSampler", shuffle=True),
        dataset=dict(**dataset, pipeline=pipeline),
    )
    return {**loader, **fields}


def val_loader(dataset: dict, scale: tuple[int, int], **fields) -> dict:
    """Whole images, resized to ``scale``, one at a time, their truth at its own size; see :func:`train_loader`."""
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=scale, keep_ratio=True),
        dict(type="LoadAnnotations"),  # after Resize: the truth keeps its own size
        dict(type="PackSegInputs"),
    ]
    loader = dict(
        batch_size=1,
        num_workers=4,
        persistent_workers=True,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=dict(**dataset, pipeline=pipeline),
    )
    return {**loader, **fields}


def tta_pipeline_at(scale: tuple[int, int]) -> list[dict]:
    """The ``tta_pipeline`` of a set, with mmsegmentation's six sizes of each image, and its mirror image.

    Args:
        scale: longest and shortest side of an image at size 1, pixels.
    """
    sizes = [tuple(int(side * ratio) for side in scale) for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)]
    return [
        dict(type="LoadImageFromFile"),
        dict(
            type="TestTimeAug",
            transforms=[
                [dict(type="Resize", scale=size, keep_ratio=True) for size in sizes],
                [dict(type="RandomFlip", prob=prob, direction="horizontal") for prob in (0.0, 1.0)],
                [dict(type="LoadAnnotations")],
                [dict(type="PackSegInputs")],
            ],
        ),
    ]
