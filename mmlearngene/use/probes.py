"""What features are worth without any training of the model that makes them: nearest neighbours and linear layers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from ..errors import LearngeneError, in_words
from ..frameworks import built_anywhere
from ..io.config_files import read_config
from ..io.gene import is_learngene
from ..io.images import FolderImages, folder_images
from ..io.paths import SUFFIX
from ..io.preprocessing import preprocessing_of
from ..learngenes import load
from ..learngenes.attention import BATCH_SIZE
from ..vit.spec import ViTSpec
from .load import load_ancestry
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

    Raises:
        LearngeneError: the bank has one class, which leaves nothing to tell apart.
    """
    if len(classes := np.unique(bank_labels)) < 2:
        raise LearngeneError(f"the labels that a linear layer is fitted to are all {classes[0]}; expected two classes")
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
        LearngeneError: a source cannot be read, a size is out of range, no framework here has such a ViT, or mean and
            std do not go with its channels.
    """
    image = {} if img_size is None else dict(img_size=img_size)
    names = [Path(source).name for source in sources]
    for source, name in zip(sources, names, strict=True):
        known = preprocessing_of(source)
        name = name if names.count(name) == 1 else str(source)
        if is_learngene(source):
            learngene = load(source)
            known |= learngene.preprocessing
            specs = [learngene.target(size or None).sized(**image) for size in sizes or [""]]
            with torch.no_grad():
                title = name.removesuffix(SUFFIX).removesuffix(".safetensors")
                found = [(f"{title} {spec}", learngene.expand(spec)) for spec in specs]
        else:
            weights = load_ancestry(source)
            found = [(name, weights.resample(weights.spec.sized(**image)))]
        known |= given or {}
        mean, std = _normalisation(source, known, found[0][1].spec.in_channels)
        for title, weights in found:
            tokens = token_model(built_anywhere(weights), class_token=weights.spec.pool == "cls")
            yield Judged(title, weights.spec, tokens, mean, std)


def _normalisation(source: str, known: dict, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of each channel; where nothing is known ImageNet's, their mean for grey images."""
    if channels not in (1, 3):
        raise LearngeneError(f"{source} takes images of {channels} channels; expected 3, or 1 for grey ones")
    found = []
    for name, usual in (("mean", IMAGENET_DEFAULT_MEAN), ("std", IMAGENET_DEFAULT_STD)):
        values = tuple(known.get(name) or (usual if channels == 3 else (sum(usual) / 3,)))
        if len(values) not in (1, channels) or not all(math.isfinite(value) for value in values):
            raise LearngeneError(f"{name} {list(values)} of {source}: expected {channels} numbers, one a channel")
        if name == "std" and min(values) <= 0:
            raise LearngeneError(f"std {list(values)} of {source}: expected numbers above 0")
        found.append(values)
    return tuple(found)


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
    data = folder_images(folder, size, model.mean, model.std)
    yield from DataLoader(Subset(data, spread(len(data), limit)), batch_size=BATCH_SIZE)


def check_folders(bank: str | Path, queries: str | Path, limit: int) -> int:
    """See that images can vote for the classes of others, before any of them is read.

    Args:
        bank: folder of images that vote, a folder for each class.
        queries: folder of images that are voted on, likewise.
        limit: images of a folder at most, evenly spread.

    Returns:
        How many images are looked at.

    Raises:
        LearngeneError: a folder has no images, the two have different classes, or fewer than two classes vote.
    """
    found = [FolderImages(folder, None, 3) for folder in (bank, queries)]
    classes = [set(images.classes) for images in found]
    if different := sorted(classes[0] ^ classes[1]):
        raise LearngeneError(
            f"{bank} and {queries} have different classes: {', '.join(different[:3])}; expected a folder for each "
            "class in both"
        )
    chosen = [spread(len(images), limit) for images in found]
    voting = {found[0].reader.samples[index][1] for index in chosen[0]}
    if len(voting) < 2:
        what = f"has one class, {found[0].classes[0]!r}" if len(classes[0]) == 1 else "are images of one class"
        more = "a folder for each of two classes or more" if len(classes[0]) == 1 else "a larger limit"
        raise LearngeneError(f"what votes of {bank} {what} ({len(chosen[0])} images); expected {more}")
    return sum(map(len, chosen))


def spread(count: int, limit: int) -> list[int]:
    """At most ``limit`` of ``count`` places, evenly spread."""
    return list(range(0, count, max(1, -(-count // limit))))


def features(model: Judged, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """Summaries (N, C) of images, and their labels (N,).

    Raises:
        LearngeneError: a summary is not finite.
    """
    found = [(model.tokens(images).summary.numpy(), labels.numpy()) for images, labels in batches]
    summaries, labels = (np.concatenate(part) for part in zip(*found, strict=True))
    return _finite(model, summaries), labels


def _finite(model: Judged, features: np.ndarray) -> np.ndarray:
    if not np.isfinite(features).all():
        raise LearngeneError(f"{model.name} has features that are no finite numbers; expected a trained model")
    return features


IGNORED = 255
PATCHES = 20_000  # in a bank, and of queries
_MOST_CLASSES = 2**16


def patch_features(
    model: Judged, config: str | Path, limit: int, track: Callable[[list[int]], Iterable[int]] = iter
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Patch tokens (N, C) and their classes (N,): a bank from a segmentation config's training set, then queries.

    The class of a patch is that of most of its pixels; patches without any labelled pixel are left out. At most 20,000
    of each are taken, drawn evenly.

    Args:
        model: the model; images are resized to its own.
        config: an mmsegmentation config with train and validation sets.
        limit: images of a set at most.
        track: gives the places of the images one by one, and may count them.

    Raises:
        LearngeneError: see :func:`segmentation_sets`; an image or label map cannot be read; or no pixel has a label.
    """
    found = []
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (model.mean, model.std))
    for data in segmentation_sets(config, model.spec):
        tokens, classes = [], []
        for index in track(spread(len(data), limit)):
            image, label = _pixels(data, index, config)
            patches = model.tokens(((image - mean) / std)[None]).patches[0]
            tokens.append(patches.flatten(0, 1).numpy())
            classes.append(_majority(label, patches.shape[:2]))
        labels = np.concatenate(classes)
        kept = np.flatnonzero(labels != IGNORED)
        kept = kept[spread(len(kept), PATCHES)]
        if not len(kept):
            raise LearngeneError(f"{config}: no pixel of the images that are looked at has a label; expected some")
        found.append((_finite(model, np.concatenate(tokens)[kept]), labels[kept]))
    return found


def segmentation_sets(config: str | Path, spec: ViTSpec) -> list[Dataset]:
    """The training and validation sets of a segmentation config, every image and label map of the ViT's size.

    Args:
        config: an mmsegmentation config with train and validation sets.
        spec: the ViT.

    Raises:
        LearngeneError: no such config, it has no such sets or they no images or no label maps, or the ViT takes grey
            images.
    """
    from mmengine.registry import DATASETS, DefaultScope  # the OpenMMLab side, which the core does without

    from ..datasets.data_check import LOADERS, check_data

    cfg = read_config(config)
    if spec.in_channels != 3:
        raise LearngeneError(f"{config} has images of 3 channels, and {spec} takes {spec.in_channels}")
    height, width = spec.img_size
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations"),
        dict(type="Resize", scale=(width, height), keep_ratio=False),
    ]
    found = []
    for name in LOADERS:
        if not cfg.get(name):
            raise LearngeneError(f"{config} has no {name}; expected a segmentation config such as those of configs/seg")
        try:
            check_data(cfg, [name])
            with DefaultScope.overwrite_default_scope("mmseg"):
                data = DATASETS.build({**cfg[name].dataset, "pipeline": pipeline})
        except LearngeneError:
            raise
        except Exception as error:  # of a data set that anybody may have written
            raise LearngeneError(f"{config}: {name} is no set of segmentation ({in_words(error)})") from error
        _pixels(data, 0, config)
        found.append(data)
    return found


def _pixels(data: Dataset, index: int, config: str | Path) -> tuple[Tensor, np.ndarray]:
    """An image (3, H, W) of 0 to 1 and its labels (H, W)."""
    try:
        sample = data[index]
        image, labels = sample["img"], sample["gt_seg_map"]
    except Exception as error:  # of others' code, on others' files
        raise LearngeneError(f"{config}: image {index} of {type(data).__name__}: {in_words(error)}") from error
    if labels.shape != image.shape[:2] or labels.min() < 0 or labels.max() > _MOST_CLASSES:
        raise LearngeneError(
            f"{config}: the label map of image {index} is {labels.shape} with numbers from {labels.min()}; expected "
            "one number of 0 or more for each pixel"
        )
    return torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1) / 255, labels


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
