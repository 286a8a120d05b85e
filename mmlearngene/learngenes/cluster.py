"""Cluster-Learngene: inheriting adaptive clusters (Wang, Yang, Feng, Wang, Geng, NeurIPS 2024).

The heads of each ancestry layer are clustered by how far they look; the learngene keeps one head of each cluster and
one feed-forward network (FFN) of each run of like layers. A descendant has any number of heads in each layer: the kept
heads are shared among them, those of large clusters first.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import LearngeneError, check_choice
from ..vit import ViTSpec, ViTWeights
from . import register
from .base import TensorTree, derived_spec
from .extracted import FFN, KEPT, Extracted, chosen_layers, map_start, mapped, ordinary, stacked_layers

CENTROIDS = ("nearest", "average")
EPS = 10.0
MAX_HEADS = 64
HEADS = ("qkv.weight", "qkv.bias", "proj.weight")
HEAD_AXIS = 1  # of each of them, in a layer


def cluster_heads(distances: Sequence[float], eps: float = EPS) -> list[list[int]]:
    """Cluster the heads of a layer by DBSCAN on their mean attention distances (Algorithm 1).

    Args:
        distances: of each head, in pixels.
        eps: heads this near to each other, in pixels, are of one cluster. 0 leaves every head to itself.

    Returns:
        The clusters in order of priority: the largest first, ties by their first head.
    """
    heads = range(len(distances))
    if eps == 0:  # which scikit-learn does not take
        return [[head] for head in heads]
    from sklearn.cluster import DBSCAN

    labels = DBSCAN(eps=eps, min_samples=1).fit_predict(np.asarray(distances, dtype=np.float64)[:, None])
    clusters = [[head for head in heads if labels[head] == label] for label in dict.fromkeys(labels)]
    return sorted(clusters, key=len, reverse=True)


def centroid_head(cluster: Sequence[int], distances: Sequence[float]) -> int:
    """The head of a cluster whose distance is nearest the cluster's mean; the first of equals."""
    gaps = np.array([distances[head] for head in cluster], dtype=np.float64)
    gaps = np.abs(gaps - gaps.mean())
    return cluster[int(np.flatnonzero(gaps <= gaps.min() + 1e-9)[0])]  # two heads are equally near but for rounding


def merge_ffns(centroid_distances: Sequence[Sequence[float]], eps: float = EPS, equal_counts: bool = True) -> list[int]:
    """For each layer the layer whose FFN it uses: the shallowest of its run of like layers.

    Adjacent layers are alike where the centroids' distances, paired in order, differ by less than ``eps`` on average.
    For equal numbers of centroids that is the Wasserstein distance of the two layers, which is also defined for others.

    Args:
        centroid_distances: for each layer the distances of its centroid heads, in pixels.
        eps: the threshold, in pixels.
        equal_counts: whether layers with different numbers of centroids are never alike, as the paper writes. The
            runs that the paper reports for DeiT-B need False.
    """
    from scipy.stats import wasserstein_distance

    sources = list(range(len(centroid_distances)))
    for layer in sources[1:]:
        above, below = centroid_distances[layer - 1], centroid_distances[layer]
        if equal_counts and len(above) != len(below):
            continue
        if wasserstein_distance(above, below) < eps:
            sources[layer] = sources[layer - 1]
    return sources


def share_heads(num_centroids: int, num_heads: int) -> list[int]:
    """Priority weight sharing: which centroid, in order of priority, each head of a descendant's layer takes.

    Full rounds over all centroids, then the first ones once more; with fewer heads than centroids the first ones.
    """
    return [head % num_centroids for head in range(num_heads)]


@register
class Cluster(Extracted):
    """Centroid heads and kept FFNs of an ancestry; :meth:`extract` makes it.

    The learngene's ``qkv`` and ``proj`` tensors hold the centroid heads of all layers one after another, ``fc1`` and
    ``fc2`` the kept FFNs, everything else is the ancestry's. Each FFN kept for a run of n layers has a map, one number
    in, n out, Linear-ReLU-Linear, which every weight of it goes through to give each layer an FFN of its own. It starts
    at the identity and trains with the descendant in an :class:`~mmlearngene.models.AuxNet`; a plain descendant gets
    what it has become.

    Args:
        aux: the ancestry's size.
        heads: for each layer the centroid heads in order of priority.
        ffns: for each layer the layer whose FFN it uses; each its own when omitted.
        clusters: for each layer the heads behind each centroid, in the same order; for figures, and for averaging.
        distances: mean attention distance of each head of each layer in pixels; for figures.
        centroid: ``nearest`` or ``average``, see :meth:`extract`.
        learngene: the size that follows from ``aux`` and ``heads``; files give it.

    Raises:
        LearngeneError: ``heads`` or ``ffns`` do not fit the ancestry.
    """

    method = "cluster"
    keeps_width = True

    def __init__(
        self,
        aux: str | ViTSpec | dict,
        heads: Sequence[Sequence[int]],
        ffns: Sequence[int] | None = None,
        clusters: Sequence[Sequence[Sequence[int]]] | None = None,
        distances: Sequence[Sequence[float]] | None = None,
        centroid: str = "nearest",
        learngene: str | ViTSpec | dict | None = None,
    ) -> None:
        aux = ordinary(aux)
        heads = [list(layer) for layer in heads]
        ffns = list(range(aux.num_layers) if ffns is None else ffns)
        _check_heads(heads, aux)
        _check_ffns(ffns, aux)
        own = aux.replace(num_heads=[len(layer) for layer in heads], embed_dims=aux.embed_dims)
        own = derived_spec(self.method, learngene, own)
        super().__init__(
            own,
            aux,
            heads=heads,
            ffns=ffns,
            clusters=clusters,
            distances=distances,
            centroid=check_choice(centroid, CENTROIDS, "centroid"),
        )
        self.counts = [len(layer) for layer in heads]
        self.runs = Counter(ffns)  # the layer an FFN is from -> how many layers use it
        shapes = own.stem_shapes()
        for name, shape in own.block_shapes().items():
            if name in HEADS:
                shape = (shape[0], sum(self.counts), *shape[2:])
            else:
                shape = (len(self.runs) if name in FFN else aux.num_layers, *shape)
            shapes[name] = shape
        self.learngene = TensorTree({name: torch.zeros(shape) for name, shape in shapes.items()})
        maps = {}
        for source, layers in self.runs.items():
            if layers > 1:
                maps |= {f"ffn{source}.{name}": tensor for name, tensor in map_start(torch.ones(layers, 1)).items()}
        self.maps = TensorTree(maps)

    @classmethod
    def extract(
        cls,
        ancestry: ViTWeights,
        data: str | Path | Iterable[Tensor] | None = None,
        num_images: int = 1000,
        seed: int = 0,
        preprocessing: dict | None = None,
        distances: Tensor | Sequence[Sequence[float]] | None = None,
        heads: Sequence[Sequence[int]] | None = None,
        ffns: Sequence[int] | None = None,
        eps: float = EPS,
        centroid: str = "nearest",
        equal_counts: bool = True,
    ) -> Cluster:
        """Cluster the heads of an ancestry by their mean attention distance over images, and keep the centroids.

        Args:
            ancestry: the trained ViT's weights.
            data: a folder of images, an OpenMMLab config, or batches of preprocessed images. Not needed with ``eps=0``
                or where ``distances`` or ``heads`` are given.
            num_images: images of a folder or config to look at; about 1,000 in the paper.
            seed: of their draw.
            preprocessing: ``mean``, ``std``, ``interpolation`` and ``crop_pct`` of a folder's images, see
                :func:`mmlearngene.attention_distance.read_images`.
            distances: (layers, heads) in pixels, instead of ``data``.
            heads: for each layer the centroid heads in order of priority, instead of clustering.
            ffns: for each layer the layer whose FFN it uses, instead of merging.
            eps: threshold of both clusterings in pixels: neighbouring heads, and like layers. 0 keeps every head and
                every FFN.
            centroid: ``nearest`` keeps the head nearest its cluster's mean distance; ``average`` averages the weights
                of the cluster's heads (the paper's ablation).
            equal_counts: see :func:`merge_ffns`.

        Raises:
            LearngeneError: no images where they are needed, or heads, FFNs or distances that do not fit the ancestry.
        """
        check_choice(centroid, CENTROIDS, "centroid")
        spec = ordinary(ancestry.spec)
        if eps < 0:
            raise LearngeneError(f"eps={eps} must be 0 (every head) or more pixels")
        to_cluster = heads is None and eps > 0
        if to_cluster and not importlib.util.find_spec("sklearn"):
            raise LearngeneError(
                "clustering heads needs scikit-learn, which is not installed: pip install scikit-learn"
            )
        provenance = {"eps": eps, "equal_counts": equal_counts}
        if distances is None and data is not None:
            from ..attention_distance import mean_attention_distance, read_images

            if isinstance(data, (str, Path)):
                provenance |= {"data": Path(data).name, "num_images": num_images, "seed": seed}
                data = read_images(data, spec, num_images, seed, **(preprocessing or {}))
            distances = mean_attention_distance(ancestry, data)
        if distances is not None:
            distances = torch.as_tensor(distances, dtype=torch.float64)
            if distances.shape != (spec.num_layers, spec.num_heads):
                raise LearngeneError(f"distances of shape {tuple(distances.shape)} do not fit the ancestry {spec}")
            distances = [[round(distance, 3) for distance in row] for row in distances.tolist()]  # of a pixel
        elif to_cluster:
            raise LearngeneError(
                "clustering heads needs images: give data (a folder or an OpenMMLab config), or distances, or heads; "
                "or eps=0 to keep every head"
            )
        if heads is not None:
            if centroid == "average":
                raise LearngeneError("centroid='average' needs clusters, which given heads do not have")
            clusters = None
        else:
            rows = distances or [[0.0] * spec.num_heads] * spec.num_layers
            clusters = [cluster_heads(row, eps) for row in rows]
            heads = [[centroid_head(c, row) for c in layer] for layer, row in zip(clusters, rows, strict=True)]
        _check_heads(heads, spec)
        if ffns is None and distances is not None:
            ffns = merge_ffns(
                [[row[head] for head in layer] for layer, row in zip(heads, distances, strict=True)], eps, equal_counts
            )
        learngene = cls(spec, heads, ffns, clusters, distances, centroid)
        learngene._take(ancestry)
        learngene.provenance |= provenance
        return learngene

    @torch.no_grad()
    def _take(self, ancestry: ViTWeights) -> None:
        """Copy what the learngene keeps of the ancestry."""
        own, blocks = self.learngene.tensors(), stacked_layers(ancestry)
        for name, tensor in ancestry.stem().items():
            own[name].copy_(tensor)
        for name in KEPT:
            own[name].copy_(blocks[name])
        for name in FFN:
            own[name].copy_(blocks[name][list(self.runs)])
        average = self.config["centroid"] == "average"
        groups = self.config["clusters"] if average else [[[h] for h in layer] for layer in self.config["heads"]]
        for name in HEADS:
            kept = [
                layer[:, group].mean(HEAD_AXIS)
                for layer, layer_groups in zip(blocks[name], groups, strict=True)
                for group in layer_groups
            ]
            own[name].copy_(torch.stack(kept, HEAD_AXIS))

    # ------------------------------------------------------------------ expansion

    @property
    def head_choices(self) -> range:
        """Any number; more than any published ViT has would be a mistake."""
        return range(1, MAX_HEADS + 1)

    def _expand(self, spec: ViTSpec, *, depth: str = "first", repeat_correction: bool = True) -> ViTWeights:
        """Give each layer its heads by priority weight sharing and its FFN by the run's map.

        Args:
            depth: which of the ancestry's layers a shallower descendant takes: the ``first`` ones (the released code)
                or ``uniform`` ones. Deeper than the ancestry only ``uniform`` goes: layers are then repeated.
            repeat_correction: divide the projection of a head that is used n times by n, so that repeating heads does
                not change what the layer computes.
        """
        own = self.learngene.tensors()
        sources = chosen_layers(depth, spec.num_layers, self.aux_spec.num_layers)
        entries = list(dict.fromkeys(zip(sources, spec.heads, strict=True)))
        centroids = {name: own[name].split(self.counts, HEAD_AXIS) for name in HEADS}
        ffns = self._ffns()
        blocks = {name: [] for name in (*KEPT, *HEADS, *FFN)}
        for source, heads in entries:
            for name in KEPT:
                blocks[name].append(own[name][source])
            for name in FFN:
                blocks[name].append(ffns[source][name])
            index = torch.tensor(share_heads(self.counts[source], heads), device=own["norm1.weight"].device)
            for name in HEADS:
                blocks[name].append(centroids[name][source].index_select(HEAD_AXIS, index))
            if repeat_correction:
                blocks["proj.weight"][-1] = blocks["proj.weight"][-1] / index.bincount()[index, None]
        stem = {name: own[name] for name in spec.stem_shapes()}
        layer_map = [entries.index(entry) for entry in zip(sources, spec.heads, strict=True)]
        return ViTWeights(spec, {**stem, **blocks}, layer_map)

    def _ffns(self) -> list[dict[str, Tensor]]:
        """The FFN of each layer of the ancestry: the run's own, through the run's map."""
        own, maps = self.learngene.tensors(), self.maps.tensors()
        ffns = []
        for row, (source, layers) in enumerate(self.runs.items()):
            run = {name: own[name][row : row + 1] for name in FFN}
            if layers > 1:
                run = {name: mapped(tensor, maps, f"ffn{source}") for name, tensor in run.items()}
            ffns += [{name: run[name][layer] for name in FFN} for layer in range(layers)]
        return ffns


def _check_heads(heads: Sequence[Sequence[int]], aux: ViTSpec) -> None:
    if len(heads) != aux.num_layers:
        raise LearngeneError(f"heads has {len(heads)} layers; the ancestry {aux} has {aux.num_layers}")
    for layer, chosen in enumerate(heads):
        if not chosen or len(set(chosen)) != len(chosen) or not set(chosen) <= set(range(aux.num_heads)):
            raise LearngeneError(
                f"heads {list(chosen)} of layer {layer}: expected different ones of 0 to {aux.num_heads - 1}"
            )


def _check_ffns(ffns: Sequence[int], aux: ViTSpec) -> None:
    runs = [source == layer or (layer > 0 and source == ffns[layer - 1]) for layer, source in enumerate(ffns)]
    if len(ffns) != aux.num_layers or not all(runs):
        raise LearngeneError(
            f"ffns={list(ffns)}: expected for each of {aux.num_layers} layers its own number, or that of the layer "
            "above where they share an FFN"
        )
