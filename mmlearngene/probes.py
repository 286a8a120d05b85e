"""What features are worth without any training of the model that makes them: nearest neighbours and linear layers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from .ancestry import load_ancestry
from .attention import BATCH_SIZE
from .errors import LearngeneError
from .files import SUFFIX, existing, is_learngene
from .layouts import built_anywhere
from .learngenes import load
from .preprocessing import FolderImages, preprocessing_of
from .spec import ViTSpec
from .tokens import TokenModel, Tokens, token_model

NEIGHBOURS = 20


def knn_accuracy(
    bank: np.ndarray, bank_labels: np.ndarray, queries: np.ndarray, labels: np.ndarray, neighbours: int = NEIGHBOURS
) -> float:
    """Top-1 accuracy, in percent, by a vote of the nearest features of a bank, by cosine.

    Args:
        bank: (N, C), features whose labels are known; with fewer of them than ``neighbours`` all vote.
        bank_labels: (N,).
        queries: (M, C).
        labels: (M,), what is to be found.
        neighbours: how many vote.
    """
    from sklearn.neighbors import KNeighborsClassifier

    vote = KNeighborsClassifier(min(neighbours, len(bank)), metric="cosine", algorithm="brute")
    return 100 * float(vote.fit(bank, bank_labels).score(queries, labels))


def linear_predictions(
    bank: np.ndarray, bank_labels: np.ndarray, queries: np.ndarray, strength: float = 1.0
) -> np.ndarray:
    """Labels (M,) by logistic regression on the features of a bank, each channel standardised.

    Args:
        bank: (N, C), features whose labels are known.
        bank_labels: (N,).
        queries: (M, C).
        strength: inverse of the L2 penalty, scikit-learn's ``C``.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 iterations are the probe
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200)).fit(bank, bank_labels)
    return probe.predict(queries)


def linear_accuracy(bank: np.ndarray, bank_labels: np.ndarray, queries: np.ndarray, labels: np.ndarray) -> float:
    """Top-1 accuracy of :func:`linear_predictions`, in percent."""
    return 100 * float((linear_predictions(bank, bank_labels, queries) == labels).mean())


def mean_iou(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Mean intersection over union, in percent, over the classes that are in either."""
    classes = np.unique(np.concatenate((predictions, labels)))
    inside = [np.sum((predictions == c) & (labels == c)) for c in classes]
    either = [np.sum((predictions == c) | (labels == c)) for c in classes]
    return 100 * float(np.mean(np.divide(inside, either)))


# ---------------------------------------------------------------------- features of models


@dataclass(frozen=True)
class Judged:
    """A model whose features are looked at.

    Attributes:
        name: of the model, with its size.
        spec: the ViT.
        model: its tokens.
        mean: of each channel in images scaled to 0 to 1.
        std: likewise.
    """

    name: str
    spec: ViTSpec
    model: TokenModel
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @torch.no_grad()
    def tokens(self, images: Tensor) -> Tokens:
        """Tokens of preprocessed images (B, C, H, W)."""
        return self.model(images)

    def shown(self, image: Tensor) -> np.ndarray:
        """A preprocessed image (C, H, W) as it looks, (H, W, C) of 0 to 1."""
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return (image * std + mean).clamp(0, 1).permute(1, 2, 0).numpy()


def models_of(
    sources: Sequence[str], sizes: Sequence[str], img_size: int | None = None, given: dict | None = None
) -> Iterator[Judged]:
    """The models of learngene files at every size, and of trained ViTs, one after the other.

    Args:
        sources: learngene files, or whatever :func:`mmlearngene.load_ancestry` reads.
        sizes: of the learngenes; their Aux-Net's when empty.
        img_size: side of the images; the model's own when omitted.
        given: ``mean`` and ``std``; otherwise those that a learngene says it was trained with, those of the source, and
            ImageNet's.

    Raises:
        LearngeneError: a source cannot be read, a size is out of range, or no framework here has such a ViT.
    """
    image = dict(img_size=img_size) if img_size else {}
    for source in sources:
        known = preprocessing_of(source)
        name = Path(source).name
        if is_learngene(source):
            learngene = load(source)
            known |= learngene.preprocessing
            specs = [learngene.target(size or None).replace(**image) for size in sizes or [""]]
            with torch.no_grad():
                title = name.removesuffix(SUFFIX).removesuffix(".safetensors")
                found = [(f"{title} {spec}", learngene.expand(spec)) for spec in specs]
        else:
            weights = load_ancestry(source)
            found = [(name, weights.resample(weights.spec.replace(**image)))]
        known |= given or {}
        mean, std = known.get("mean") or IMAGENET_DEFAULT_MEAN, known.get("std") or IMAGENET_DEFAULT_STD
        for title, weights in found:
            tokens = token_model(built_anywhere(weights), class_token=weights.spec.pool == "cls")
            yield Judged(title, weights.spec, tokens, tuple(mean), tuple(std))


def labelled_images(folder: str | Path, model: Judged, limit: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of preprocessed images (B, C, H, W) and labels (B,) of a folder with a folder for each class.

    Args:
        folder: the folder.
        model: whom the images are for.
        limit: how many at most, evenly spread over the folder.

    Raises:
        LearngeneError: it holds no images.
    """
    size = (model.spec.in_channels, *model.spec.img_size)
    transform = create_transform(size, mean=model.mean, std=model.std, interpolation="bicubic", crop_pct=0.875)
    try:
        data = FolderImages(str(folder), transform=transform, input_img_mode="L" if size[0] == 1 else "RGB")
    except RuntimeError as error:
        raise LearngeneError(f"the folder {folder} holds no images: {error}") from error
    yield from DataLoader(Subset(data, _spread(len(data), limit)), batch_size=BATCH_SIZE)


def _spread(count: int, limit: int) -> list[int]:
    return list(range(0, count, max(1, -(-count // limit))))


def features(model: Judged, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """Summaries (N, C) of images, and their labels (N,)."""
    found = [(model.tokens(images).summary.numpy(), labels.numpy()) for images, labels in batches]
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


IGNORED = 255
PATCHES = 20_000  # in a bank, and of queries


def patch_features(model: Judged, config: str | Path, limit: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Patch tokens (N, C) and their classes (N,): a bank from a segmentation config's training set, then queries.

    The class of a patch is that of most of its pixels; patches without any labelled pixel are left out. At most 20,000
    of each are taken, drawn evenly.

    Args:
        model: the model; images are resized to its own.
        config: an mmsegmentation config with train and validation sets.
        limit: images of a set at most.

    Raises:
        LearngeneError: no such config, or it has no such sets.
    """
    from mmengine.config import Config  # the OpenMMLab side, which the core does without
    from mmengine.registry import DATASETS, DefaultScope

    cfg = Config.fromfile(existing(config))
    height, width = model.spec.img_size
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations"),
        dict(type="Resize", scale=(width, height), keep_ratio=False),
    ]
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (model.mean, model.std))
    found = []
    for name in ("train_dataloader", "val_dataloader"):
        if name not in cfg:
            raise LearngeneError(f"{config} has no {name}; expected a segmentation config such as those of configs/seg")
        with DefaultScope.overwrite_default_scope("mmseg"):
            data = DATASETS.build({**cfg[name].dataset, "pipeline": pipeline})
        tokens, classes = [], []
        for index in _spread(len(data), limit):
            sample = data[index]
            pixels = torch.from_numpy(np.ascontiguousarray(sample["img"][..., ::-1])).permute(2, 0, 1) / 255
            patches = model.tokens(((pixels - mean) / std)[None]).patches[0]
            tokens.append(patches.flatten(0, 1).numpy())
            classes.append(_majority(sample["gt_seg_map"], patches.shape[:2]))
        labels = np.concatenate(classes)
        kept = np.flatnonzero(labels != IGNORED)
        kept = kept[_spread(len(kept), PATCHES)]
        found.append((np.concatenate(tokens)[kept], labels[kept]))
    return found


def _majority(labels: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    """The most frequent label of each cell of a grid, (rows x columns,), that is not ignored; ignored if there is none.

    Args:
        labels: (H, W), divisible into the grid.
        grid: rows and columns.
    """
    rows, columns = grid
    height, width = labels.shape[0] // rows, labels.shape[1] // columns
    cells = labels[: rows * height, : columns * width].reshape(rows, height, columns, width).transpose(0, 2, 1, 3)
    counts = [np.bincount(cell[cell != IGNORED]) for cell in cells.reshape(rows * columns, -1)]
    return np.array([count.argmax() if len(count) else IGNORED for count in counts])
