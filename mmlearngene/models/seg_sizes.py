"""The parts of a segmentor's config that follow from the descendant's size: ``model = upernet('h6-l12', ...)``.

A config merges them into the rest of the model, which stands in ``configs/_base_/seg``. What comes out is a plain
mmsegmentation config: a ``mmpretrain.VisionTransformer`` and mmsegmentation's own necks and heads.
"""

from __future__ import annotations

from ..errors import LearngeneError
from ..frameworks.mmpretrain import backbone_cfg
from ..vit.spec import ViTSpec


def spread_indices(num_layers: int, levels: int = 4) -> list[int]:
    """The layers whose outputs are ``levels`` feature maps, evenly over the depth, the last one included.

    >>> spread_indices(12)
    [2, 5, 8, 11]
    >>> spread_indices(10)
    [1, 4, 6, 9]

    Raises:
        LearngeneError: there are fewer layers than levels.
    """
    if num_layers < levels:
        raise LearngeneError(f"{num_layers} layers do not give {levels} feature maps; expected {levels} layers or more")
    return [(level + 1) * num_layers // levels - 1 for level in range(levels)]


def upernet(size: str | ViTSpec, num_classes: int, crop_size: tuple[int, int], **fields) -> dict:
    """UperNet on four feature maps of the descendant.

    Args:
        size: ``'h6-l12'``, four layers or more.
        num_classes: classes of the data set.
        crop_size: (height, width) of the training crop; positions are resized for it.
        **fields: further arguments of the segmentor (``test_cfg``, say).

    Raises:
        LearngeneError: not a size, too shallow, or a crop that is not divisible into patches.
    """
    spec = ViTSpec.parse(size, img_size=tuple(crop_size))
    width = spec.embed_dims
    return dict(
        data_preprocessor=dict(size=spec.img_size),
        backbone=_featmaps(spec, out_indices=spread_indices(spec.num_layers)),
        neck=dict(embed_dim=width),
        decode_head=dict(in_channels=[width] * 4, num_classes=num_classes),
        auxiliary_head=dict(in_channels=width, num_classes=num_classes),
        **fields,
    )


def segmenter(size: str | ViTSpec, num_classes: int, crop_size: tuple[int, int], **fields) -> dict:
    """Segmenter's mask transformer, as wide as the descendant, on its last feature map; see :func:`upernet`."""
    spec = ViTSpec.parse(size, img_size=tuple(crop_size))
    width = spec.embed_dims
    head = dict(
        in_channels=width, channels=width, embed_dims=width, num_heads=width // spec.head_dim, num_classes=num_classes
    )
    backbone = _featmaps(spec, out_indices=[spec.num_layers - 1])
    return dict(data_preprocessor=dict(size=spec.img_size), backbone=backbone, decode_head=head, **fields)


def linear(size: str | ViTSpec, num_classes: int, crop_size: tuple[int, int], **fields) -> dict:
    """A linear classifier of the tokens of the frozen descendant; see :func:`upernet`."""
    spec = ViTSpec.parse(size, img_size=tuple(crop_size))
    # a frozen layer is still in training mode, where drop-path would go on
    return _on_last_map(spec, num_classes, frozen_stages=spec.num_layers, drop_path_rate=0.0, **fields)


def linear_tuned(size: str | ViTSpec, num_classes: int, crop_size: tuple[int, int], **fields) -> dict:
    """The same, trained end to end."""
    return _on_last_map(ViTSpec.parse(size, img_size=tuple(crop_size)), num_classes, **fields)


def _on_last_map(
    spec: ViTSpec, num_classes: int, frozen_stages: int = -1, drop_path_rate: float = 0.1, **fields
) -> dict:
    head = dict(in_channels=spec.embed_dims, channels=spec.embed_dims, num_classes=num_classes)
    how = dict(frozen_stages=frozen_stages, drop_path_rate=drop_path_rate)
    backbone = _featmaps(spec, out_indices=[spec.num_layers - 1], **how)
    return dict(data_preprocessor=dict(size=spec.img_size), backbone=backbone, decode_head=head, **fields)


def _featmaps(spec: ViTSpec, **overrides) -> dict:
    # The last map is normalised token by token for either pooling order; a learngene of order avg_norm leaves this norm
    # at its start values.
    return backbone_cfg(spec, **{"out_type": "featmap", "final_norm": True, "drop_path_rate": 0.1, **overrides})
