"""How far each attention head of a ViT or Swin looks: its mean attention distance in pixels, over images."""

from __future__ import annotations

import inspect
import itertools
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from ..errors import LearngeneError, check_choice
from ..frameworks import build
from ..io.images import folder_images
from ..utils.typed import Seed, check_types, shortened
from ..vit.spec import ViTSpec
from ..vit.weights import ViTWeights

BATCH_SIZE = 32
_LOGGER = logging.getLogger("mmlearngene")
_LARGEST = 224  # side of images, unless asked for: a larger one takes long, and tells no more


@torch.no_grad()
def mean_attention_distance(weights: ViTWeights, images: Iterable[Tensor]) -> Tensor:
    """Mean attention distance of every head: attention x distance between patch centres, averaged over queries.

    The distance is Euclidean and in pixels of the ViT's own size, also where the images are smaller. Class and register
    tokens are removed, as query and as key, without making up for their share of the attention (Raghu et al., NeurIPS
    2021; what Cluster-Learngene clusters by). A Swin's heads look within windows, shifted ones included; its patches
    are larger from stage to stage.

    Args:
        weights: a trained ViT or Swin, of features that timm has.
        images: batches of preprocessed images, each (B, C, H, W).

    Returns:
        (layers, heads), float64; the heads of a schedule fill each row from the left, the rest is NaN.

    Raises:
        LearngeneError: there are no images, or timm has no such ViT.
    """
    own = max(weights.spec.img_size)
    weights, images = at_size_of(images, weights)
    spec, distances = weights.spec, []
    for stage, layers in enumerate(spec.stages):
        grid = (spec.window_size,) * 2 if spec.window_size else spec.grid
        distances += [_patch_distances(grid, spec.patch_size << stage)] * len(layers)

    def distance(layer: int, attention: Tensor) -> Tensor:
        of_layer = distances[layer].to(attention.device)
        first = -len(of_layer)  # behind class and register tokens
        return (attention[..., first:, first:] * of_layer).sum(-1).mean(-1).sum(0, dtype=torch.float64)

    means = _mean_over_images(weights, images, distance)
    return (
        own / max(spec.img_size) * torch.nn.utils.rnn.pad_sequence(means, batch_first=True, padding_value=float("nan"))
    )


@torch.no_grad()
def attention_maps(weights: ViTWeights, images: Iterable[Tensor]) -> list[Tensor]:
    """The attention of every layer, averaged over its heads and over images (Cluster-Learngene, Fig. 6).

    Args:
        weights: a trained ViT or Swin, of features that timm has.
        images: batches of preprocessed images, each (B, C, H, W).

    Returns:
        For each layer (queries, keys), class and register tokens first; of a Swin those of a window.

    Raises:
        LearngeneError: there are no images, or timm has no such ViT.
    """
    weights, images = at_size_of(images, weights)
    return _mean_over_images(weights, images, lambda _, attention: attention.mean(1).sum(0, dtype=torch.float64))


def at_size_of(images: Iterable[Tensor], weights: ViTWeights) -> tuple[ViTWeights, Iterable[Tensor]]:
    """Weights resampled to the size of images, and these images.

    Raises:
        LearngeneError: there are no images, or the ViT's patches do not divide them.
    """
    images = iter(images)
    first = next(images, None)
    if first is None or not len(first):
        raise LearngeneError("data holds no image; expected at least one image, some hundred for good")
    spec = weights.spec
    if first.ndim != 4 or first.shape[1] != spec.in_channels:
        raise LearngeneError(f"data holds images of {tuple(first.shape[1:])}; expected {spec.in_channels} channels")
    return weights.resample(spec.replace(img_size=tuple(first.shape[-2:]))), itertools.chain([first], images)


def _mean_over_images(
    weights: ViTWeights, images: Iterable[Tensor], sum_of: Callable[[int, Tensor], Tensor]
) -> list[Tensor]:
    """For each layer the mean of something that is summed over a batch, see of (layer, attention (B, heads, N, N))."""
    model = build(weights, "timm")
    totals: dict[int, Tensor] = {}
    counts: Counter[int] = Counter()
    dropouts = []
    for module in model.modules():
        if isinstance(dropout := getattr(module, "attn_drop", None), nn.Dropout):
            dropouts.append(dropout)
            module.fused_attn = False

    def watch(layer: int) -> Callable:
        def hook(_, inputs: tuple[Tensor]) -> None:  # what enters the attention dropout is the softmax
            totals[layer] = totals.get(layer, 0) + sum_of(layer, inputs[0])
            counts[layer] += len(inputs[0])  # images, or windows of all of them

        return hook

    for layer, dropout in enumerate(dropouts):
        dropout.register_forward_pre_hook(watch(layer))
    device = next(iter(weights.stem().values())).device
    model.to(device).eval()
    for batch in images:
        model(batch.to(device))
    return [(totals[layer] / counts[layer]).cpu() for layer in sorted(totals)]


def _patch_distances(grid: tuple[int, int], patch_size: int) -> Tensor:
    """Distances in pixels between the centres of all pairs of patches, (patches, patches)."""
    rows, columns = (torch.arange(side, dtype=torch.float32) for side in grid)
    centres = torch.cartesian_prod(rows, columns) * patch_size
    return torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist")


def read_images(
    data: str | Path,
    spec: ViTSpec,
    num_images: int = 1000,
    seed: Seed = 0,
    *,
    img_size: int | None = None,
    mean: tuple[float, ...] = IMAGENET_DEFAULT_MEAN,
    std: tuple[float, ...] = IMAGENET_DEFAULT_STD,
    interpolation: str = "bicubic",
    crop_pct: float = 0.875,
    crop_mode: str = "center",
) -> Iterator[Tensor]:
    """Batches of images, drawn without replacement and preprocessed, with a progress bar.

    The same seed and data give the same images.

    Args:
        data: a folder of images, in subfolders or not; an OpenMMLab config (``.py``), whose validation set is read
            with its own pipeline and data preprocessor; or ``noise``, normal numbers of mean 0 and deviation 1.
        spec: the ViT that they are for: image size and channels.
        num_images: how many; all, if there are fewer.
        seed: of the draw.
        img_size: side of the images; the ViT's own when omitted, but no more than 224; for a folder and noise.
        mean: of each channel in images scaled to [0, 1]. ImageNet's by default, as in DeiT; for a folder only.
        std: of each channel, likewise.
        interpolation: of resizing, ``bicubic``, ``bilinear``, ...; for a folder only.
        crop_pct: share of the resized image's side that is cropped from its centre; for a folder only.
        crop_mode: ``center`` resizes by the shorter side, ``squash`` to the whole size, ``border`` pads; for a folder.

    Raises:
        LearngeneError: no folder or config is there, or it holds no images.
    """
    if num_images < 1:
        raise LearngeneError(f"num_images={num_images} must be positive")
    sides = _sides(spec, img_size, of_config=str(data).endswith(".py"))
    if str(data) == "noise":
        generator = torch.Generator().manual_seed(seed)
        for start in range(0, num_images, BATCH_SIZE):
            count = min(BATCH_SIZE, num_images - start)
            yield torch.randn(count, spec.in_channels, *sides, generator=generator)
        return
    data = Path(os.path.expanduser(data))
    if data.suffix == ".py":
        from ..datasets.config_images import config_images  # the OpenMMLab side, which the core does without

        dataset, collate = config_images(data, spec)
    elif data.is_dir():
        channels = spec.in_channels
        if channels not in (1, 3):
            raise LearngeneError(f"the ancestry takes {channels} channels; a folder of images has 1 or 3")
        mean, std = (_of_channels(values, channels) for values in (mean, std))
        how = dict(interpolation=interpolation, crop_pct=crop_pct, crop_mode=crop_mode)
        dataset = folder_images(data, (channels, *sides), mean, std, **how)
        collate = _stack_images
    else:
        raise LearngeneError(f"data={str(data)!r}: expected a folder of images or an OpenMMLab config (.py)")
    chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:num_images].tolist()
    from rich.console import Console  # here, as the core does without
    from rich.progress import track

    console = Console(stderr=True)
    loader = DataLoader(Subset(dataset, chosen), batch_size=BATCH_SIZE, collate_fn=collate)
    yield from track(loader, description="looking at images", console=console, disable=not console.is_terminal)


class Images:
    """Batches of images that can be gone through several times; counted, and each a tensor.

    Args:
        data: what :func:`read_images` reads; or batches of preprocessed images (B, C, H, W), or a single one.
        spec: the ViT that they are for.
        **options: of :func:`read_images`.

    Attributes:
        count: how many were seen so far.
        provenance: what to say of where they come from.

    Raises:
        LearngeneError: an option is unknown or of another type; or, while they are gone through, a batch is no images.
    """

    def __init__(self, data: str | Path | Iterable[Tensor], spec: ViTSpec, **options) -> None:
        self.count = 0
        self.provenance = {}
        if isinstance(data, (str, Path)):
            for name in options:
                check_choice(name, inspect.signature(read_images).parameters, "preprocessing")
            check_types(read_images, options)
            if not (options.get("img_size") or spec.depths or str(data).endswith(".py")):
                options["img_size"] = max(_sides(spec, None, of_config=False))  # chosen, and said, once
            self.provenance = {"data": Path(data).name, "seed": options.get("seed", 0)}
            self._read = lambda: read_images(data, spec, **options)
        else:
            batches = [data] if isinstance(data, Tensor) or not isinstance(data, Iterable) else data
            batches = list(batches) if isinstance(batches, Iterator) else batches
            self._read = lambda: iter(batches)

    def __iter__(self) -> Iterator[Tensor]:
        count, shape = 0, None
        for batch in self._read():
            if not isinstance(batch, Tensor):
                raise LearngeneError(f"data holds {shortened(batch)}; expected batches of images, a folder or a config")
            shape = batch.shape[1:] if shape is None else shape
            if batch.shape[1:] != shape or not batch.is_floating_point():
                raise LearngeneError(
                    f"data holds a batch of {tuple(batch.shape)}, {str(batch.dtype).removeprefix('torch.')}; expected "
                    f"normalised images (B, {', '.join(map(str, shape))}) in floating point"
                )
            count += len(batch)
            self.count = max(self.count, count)
            yield batch


def _sides(spec: ViTSpec, img_size: int | None, of_config: bool) -> tuple[int, int]:
    """Height and width of images: as asked for, or the ViT's own where these are at most 224.

    Raises:
        LearngeneError: a Swin's windows and a config's images have one size; or the patches do not divide it.
    """
    own = spec.img_size
    if img_size is not None and (spec.depths or of_config):
        whose = "a Swin" if spec.depths else "a config"
        raise LearngeneError(f"data_size={img_size}: {whose} has images of its own size")
    if spec.depths or of_config or (img_size is None and max(own) <= _LARGEST):
        return own
    if img_size is not None and own[0] == own[1]:
        return spec.sized(img_size=img_size).img_size
    share = (img_size or _LARGEST) / max(own)
    sides = tuple(max(1, int(side * share) // spec.patch_size) * spec.patch_size for side in own)
    if img_size is None:
        _LOGGER.warning("extraction looks on images of %d x %d (data_size, --img-size)", *sides)
    return sides


def _of_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Mean or deviation for so many channels: grey has the mean of three equal ones.

    Raises:
        LearngeneError: they are of another number of channels.
    """
    if len(values) == channels:
        return tuple(values)
    if channels == 1:
        return (sum(values) / len(values),)
    raise LearngeneError(f"{tuple(values)} are numbers of {len(values)} channels; expected {channels}")


def _stack_images(samples: list[tuple[Tensor, int]]) -> Tensor:
    return torch.stack([image for image, _ in samples])
