"""Pictures that explain a learngene: which heads cluster, what is mixed from what, and what its tokens show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # without pyplot: no window system, no global state
from sklearn.decomposition import PCA
from torch import Tensor

from ..errors import LearngeneError
from ..learngenes.attention import attention_maps
from ..learngenes.cluster import Cluster
from ..learngenes.peg import PEG
from ..vit.weights import ViTWeights


def plot_clusters(learngene: Cluster, path: str | Path) -> Path:
    """Heads per layer against mean attention distance, coloured by cluster (Cluster-Learngene, Fig. 1c).

    Centroids are ringed; colours follow priority within a layer, the largest cluster first. A grey bar ties layers
    that share a feed-forward network.

    Args:
        learngene: extracted by clustering.
        path: the picture to write.

    Raises:
        LearngeneError: its heads were given, not clustered by distance.
    """
    config = learngene.config
    if config["distances"] is None or config["clusters"] is None:
        raise LearngeneError("the figure needs clustered heads; this learngene keeps heads that were given to it")
    figure, axes = _canvas(max(5, 1 + 0.5 * learngene.aux_spec.num_layers), 4)
    colours = matplotlib.colormaps["tab10"].colors
    for layer, (clusters, row) in enumerate(zip(config["clusters"], config["distances"], strict=True)):
        for priority, cluster in enumerate(clusters):
            heights = [row[head] for head in cluster]
            axes.scatter([layer] * len(cluster), heights, s=30, color=colours[priority % len(colours)])
        centroids = [row[head] for head in config["heads"][layer]]
        axes.scatter([layer] * len(centroids), centroids, s=90, facecolors="none", edgecolors="black", linewidths=0.8)
    low = axes.get_ylim()[0]
    for source, count in learngene.runs.items():
        if count > 1:
            axes.plot([source, source + count - 1], [low, low], color="0.6", linewidth=6, solid_capstyle="round")
    axes.set_xticks(range(learngene.aux_spec.num_layers))
    axes.set(xlabel="layer", ylabel="mean attention distance (pixels)", title="heads by cluster; ringed: centroids")
    return _write(figure, path)


def plot_attention(networks: Mapping[str, ViTWeights], images: Iterable[Tensor], path: str | Path) -> Path:
    """The attention between all tokens in first and last layer, for each network (Cluster-Learngene, Fig. 6).

    Args:
        networks: title -> weights: the ancestry and its descendants, say.
        images: batches of preprocessed images, each (B, C, H, W); the attention is the mean over them and over heads.
        path: the picture to write.
    """
    images = list(images)
    figure = Figure(figsize=(2.6 * len(networks), 5), layout="constrained")
    axes = figure.subplots(2, len(networks), squeeze=False)
    for column, (title, weights) in enumerate(networks.items()):
        maps = attention_maps(weights, images)
        for row, layer in enumerate((0, len(maps) - 1)):
            axes[row, column].imshow(maps[layer], vmin=0, cmap="viridis")
            axes[row, column].set(title=f"{title}, layer {layer}", xlabel="key", ylabel="query")
    return _write(figure, path)


def plot_mixtures(learngene: PEG, path: str | Path, epoch: int = 0) -> Path:
    """The mixing matrices of a PEG learngene: its heads from the ancestry's, layer by layer, and its FFNs.

    Args:
        learngene: any PEG learngene; the matrices follow from its seed.
        path: the picture to write.
        epoch: of the draw.

    Raises:
        LearngeneError: it is a Swin's, whose stages have matrices of their own.
    """
    mixtures = learngene.mixtures(epoch)
    if "heads" not in mixtures:
        raise LearngeneError(f"the figure is of a plain ViT's mixtures, not of {learngene.aux_spec}'s")
    layers, heads, inputs = mixtures["heads"].shape
    figure, (left, right) = _canvas(9, max(3, 1 + 0.1 * layers * heads), columns=2)
    image = left.imshow(mixtures["heads"].flatten(0, 1), aspect="auto", vmin=0, vmax=1, cmap="viridis")
    left.set_yticks(np.arange(layers) * heads + (heads - 1) / 2, [str(layer) for layer in range(layers)])
    for layer in range(1, layers):
        left.axhline(layer * heads - 0.5, color="white", linewidth=1)
    left.set(xlabel="ancestry head", ylabel=f"layer, {heads} learngene heads each", title="heads")
    left.set_xticks(range(inputs))
    right.set_xticks(range(layers))
    right.set_yticks(range(len(mixtures["ffn"])))
    right.imshow(mixtures["ffn"], aspect="auto", vmin=0, vmax=1, cmap="viridis")
    right.set(xlabel="ancestry layer", ylabel="learngene FFN", title="feed-forward networks")
    figure.colorbar(image, ax=right, label="share")
    return _write(figure, path)


def plot_components(
    images: Sequence[np.ndarray], patches: Mapping[str, Sequence[np.ndarray]], path: str | Path
) -> Path:
    """The three main components of patch tokens as colours: a row an image, a column a model.

    The components are a model's own, over all its patches. Colours would be arbitrary from model to model: those of the
    first are taken, and the others' components are turned towards its (orthogonal Procrustes).

    Args:
        images: (H, W, 3), of 0 to 1.
        patches: name of a model -> for each image (rows, columns, C).
        path: the picture to write.
    """
    figure = Figure(figsize=(1.7 * (1 + len(patches)), 1.7 * len(images) + 0.3), layout="constrained")
    axes = figure.subplots(len(images), 1 + len(patches), squeeze=False)
    first: np.ndarray | None = None
    for row, image in enumerate(images):
        axes[row, 0].imshow(image)
    for column, (name, tokens) in enumerate(patches.items(), 1):
        maps = _components(np.stack(tokens))
        if first is None:
            first = maps
        elif maps.shape == first.shape:
            left, _, right = np.linalg.svd(maps.reshape(-1, 3).T @ first.reshape(-1, 3))
            maps = maps @ (left @ right)
        low, high = (np.percentile(maps, share, axis=(0, 1, 2)) for share in (1, 99))
        colours = np.clip((maps - low) / np.maximum(high - low, 1e-9), 0, 1)
        axes[0, column].set_title(name, fontsize=8)
        for row, colour in enumerate(colours):
            axes[row, column].imshow(colour, interpolation="nearest")
    for axis in axes.flat:
        axis.set_axis_off()
    return _write(figure, path)


def _components(patches: np.ndarray) -> np.ndarray:
    """The three main components of tokens (images, rows, columns, C), each of deviation 1."""
    flat = patches.reshape(-1, patches.shape[-1])
    return PCA(3, whiten=True, random_state=0).fit_transform(flat).reshape(*patches.shape[:3], 3)


def _canvas(width: float, height: float, columns: int = 1) -> tuple[Figure, Axes | np.ndarray]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def _write(figure: Figure, path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path
