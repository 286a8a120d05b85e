"""How far each attention head of a ViT or Swin looks: its mean attention distance in pixels, over images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from .errors import LearngeneError
from .images import FolderImages
from .layouts import build
from .spec import ViTSpec
from .typed import Seed
from .weights import ViTWeights

BATCH_SIZE = 32


@torch.no_grad()
def mean_attention_distance(weights: ViTWeights, images: Iterable[Tensor]) -> Tensor:
    """Mean attention distance of every head: attention x distance between patch centres, averaged over queries.

    The distance is Euclidean and in pixels of the network's input. Class and register tokens are removed, as query
    and as key, without making up for their share of the attention (Raghu et al., NeurIPS 2021; what Cluster-Learngene
    clusters by). A Swin's heads look within windows, shifted ones included; its patches are larger from stage to stage.

    Args:
        weights: a trained ViT or Swin, of features that timm has.
        images: batches of preprocessed images, each (B, C, H, W).

    Returns:
        (layers, heads), float64; the heads of a schedule fill each row from the left, the rest is NaN.

    Raises:
        LearngeneError: there are no images, or timm has no such ViT.
    """
    spec, distances = weights.spec, []
    for stage, layers in enumerate(spec.stages):
        grid = (spec.window_size,) * 2 if spec.window_size else spec.grid
        distances += [_patch_distances(grid, spec.patch_size << stage)] * len(layers)

    def distance(layer: int, attention: Tensor) -> Tensor:
        of_layer = distances[layer].to(attention.device)
        first = -len(of_layer)  # behind class and register tokens
        return (attention[..., first:, first:] * of_layer).sum(-1).mean(-1).sum(0, dtype=torch.float64)

    means = _mean_over_images(weights, images, distance)
    return torch.nn.utils.rnn.pad_sequence(means, batch_first=True, padding_value=float("nan"))


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
    return _mean_over_images(weights, images, lambda _, attention: attention.mean(1).sum(0, dtype=torch.float64))


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
    if not counts:
        raise LearngeneError("attention over images needs at least one image")
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
    mean: tuple[float, ...] = IMAGENET_DEFAULT_MEAN,
    std: tuple[float, ...] = IMAGENET_DEFAULT_STD,
    interpolation: str = "bicubic",
    crop_pct: float = 0.875,
    crop_mode: str = "center",
) -> Iterator[Tensor]:
    """Batches of images, drawn without replacement and preprocessed, with a progress bar.

    The same seed and data give the same images.

    Args:
        data: a folder of images, in subfolders or not; or an OpenMMLab config (``.py``), whose validation set is read
            with its own pipeline and data preprocessor.
        spec: the ViT that they are for: image size and channels.
        num_images: how many; all, if there are fewer.
        seed: of the draw.
        mean: of each channel in images scaled to [0, 1]. ImageNet's by default, as in DeiT; for a folder only.
        std: of each channel, likewise.
        interpolation: of resizing, ``bicubic``, ``bilinear``, ...; for a folder only.
        crop_pct: share of the resized image's side that is cropped from its centre; for a folder only.
        crop_mode: ``center`` resizes by the shorter side, ``squash`` to the whole size, ``border`` pads; for a folder.

    Raises:
        LearngeneError: no folder or config is there, or it holds no images.
    """
    data = Path(os.path.expanduser(data))
    if num_images < 1:
        raise LearngeneError(f"num_images={num_images} must be positive")
    if data.suffix == ".py":
        from .datasets.config_images import config_images  # the OpenMMLab side, which the core does without

        dataset, collate = config_images(data, spec)
    elif data.is_dir():
        size = (spec.in_channels, *spec.img_size)
        how = dict(interpolation=interpolation, crop_pct=crop_pct, crop_mode=crop_mode)
        transform = create_transform(size, mean=mean, std=std, **how)
        dataset = FolderImages(data, transform, spec.in_channels)
        collate = _stack_images
    else:
        raise LearngeneError(f"data={str(data)!r}: expected a folder of images or an OpenMMLab config (.py)")
    chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:num_images].tolist()
    from rich.console import Console  # here, as the core does without
    from rich.progress import track

    console = Console(stderr=True)
    loader = DataLoader(Subset(dataset, chosen), batch_size=BATCH_SIZE, collate_fn=collate)
    yield from track(loader, description="attention distances", console=console, disable=not console.is_terminal)


def _stack_images(samples: list[tuple[Tensor, int]]) -> Tensor:
    return torch.stack([image for image, _ in samples])
