"""Cluster-Learngene: inheriting adaptive clusters (Wang, Yang, Feng, Wang, Geng, NeurIPS 2024).

The heads of each ancestry layer are clustered by how far they look; the learngene keeps one head of each cluster and
one feed-forward network (FFN) of each run of like layers. A descendant has any number of heads in each layer: the kept
heads are shared among them, those of large clusters first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import LearngeneError, check_choice
from ..vit.spec import ViTSpec
from ..vit.weights import ViTWeights
from .base import TensorTree
from .extracted import Extracted, map_start, mapped
from .facts.ancestry import FFN, chosen_stages, stage_prefixes
from .facts.base import below
from .facts.cluster import CENTROIDS, ClusterFacts, check_heads
from .methods import register

EPS = 10.0  # pixels


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

    Adjacent layers are alike where the distances of their centroids, paired, differ by less than ``eps`` on average.
    Equally many centroids are paired in order of distance; others in order of priority, as many as the smaller number.

    Args:
        centroid_distances: for each layer the distances of its centroid heads, in pixels, in order of priority.
        eps: the threshold, in pixels.
        equal_counts: whether layers with different numbers of centroids are never alike, as the paper writes. The
            runs that the paper reports for DeiT-B, (6, 7) and (9, 10, 11) counted from 0, need False: the rule for
            unequal numbers is our reconstruction from the authors' distances.
    """
    sources = list(range(len(centroid_distances)))
    for layer in sources[1:]:
        above, below = centroid_distances[layer - 1], centroid_distances[layer]
        if len(above) == len(below):
            above, below = sorted(above), sorted(below)
        elif equal_counts:
            continue
        if np.mean([abs(one - other) for one, other in zip(above, below, strict=False)]) < eps:
            sources[layer] = sources[layer - 1]
    return sources


def share_heads(num_centroids: int, num_heads: int) -> list[int]:
    """Priority weight sharing: which centroid, in order of priority, each head of a descendant's layer takes.

    Full rounds over all centroids, then the first ones once more; with fewer heads than centroids the first ones.
    """
    return [head % num_centroids for head in range(num_heads)]


@register
class Cluster(ClusterFacts, Extracted):
    """Centroid heads and kept FFNs of an ancestry; :meth:`extract` makes it.

    The learngene's ``qkv`` and ``proj`` tensors hold the centroid heads of all layers one after another, ``fc1`` and
    ``fc2`` the kept FFNs, everything else is the ancestry's. Each FFN kept for a run of n layers has a map, one number
    in, n out, Linear-ReLU-Linear, which every weight of it goes through to give each layer an FFN of its own. It starts
    at the identity and trains with the descendant in an :class:`~mmlearngene.models.AuxNet`; a plain descendant gets
    what it has become.

    Every tensor with an axis of heads follows its heads: the tables of a Swin's relative positions do. A Swin's
    layers are clustered and share FFNs within their stage; the tensors of a stage are under ``stages.0.`` and so on.
    """

    looks_at_images = True

    def _create(self) -> None:
        shapes = below("learngene.", self.tensor_shapes())
        self.learngene = TensorTree({name: torch.zeros(shape) for name, shape in shapes.items()})
        starts = {source: map_start(torch.ones(count, 1)) for source, count in self.shared().items()}
        maps = {f"ffn{source}.{name}": tensor for source, start in starts.items() for name, tensor in start.items()}
        self.maps = TensorTree(maps)

    @classmethod
    def extract(
        cls,
        ancestry: ViTWeights,
        distances: Tensor | Sequence[Sequence[float]] | None = None,
        heads: Sequence[Sequence[int]] | None = None,
        ffns: Sequence[int] | None = None,
        eps: float = EPS,
        centroid: str = "nearest",
        equal_counts: bool = True,
        ffn_centroid: str = "first",
    ) -> Cluster:
        """Cluster the heads of an ancestry by their mean attention distance over images, and keep the centroids.

        Args:
            ancestry: the trained ViT's weights.
            distances: (layers, heads) in pixels, which :func:`mmlearngene.extract` measures on images. Not needed with
                ``eps=0`` or where ``heads`` are given.
            heads: for each layer the centroid heads in order of priority, instead of clustering.
            ffns: for each layer the layer whose FFN it uses, instead of merging.
            eps: threshold of both clusterings in pixels: neighbouring heads, and like layers. 0 keeps every head and
                every FFN.
            centroid: ``nearest`` keeps the head nearest its cluster's mean distance; ``average`` averages the weights
                of the cluster's heads (the paper's ablation).
            equal_counts: see :func:`merge_ffns`.
            ffn_centroid: what a run of like layers keeps: its ``first`` FFN, or the ``average`` of their weights (the
                paper's ablation).

        Raises:
            LearngeneError: no distances where they are needed, or heads, FFNs or distances that do not fit the
                ancestry.
        """
        check_choice(centroid, CENTROIDS, "centroid")
        spec = ancestry.spec
        if eps < 0:
            raise LearngeneError(f"eps={eps} must be 0 (every head) or more pixels")
        if distances is not None:
            distances = _rounded(distances, spec)
        elif heads is None and eps > 0:
            raise LearngeneError(
                "clustering heads needs images: give data (a folder or an OpenMMLab config), or distances, or heads; "
                "or eps=0 to keep every head"
            )
        clusters = None
        if heads is None:
            rows = distances or [[0.0] * count for count in spec.heads]
            clusters = [cluster_heads(row, eps) for row in rows]
            heads = [[centroid_head(c, row) for c in layer] for layer, row in zip(clusters, rows, strict=True)]
        elif centroid == "average":
            raise LearngeneError("centroid='average' needs clusters, which given heads do not have")
        check_heads(heads, spec)
        if ffns is None and distances is not None:
            kept = [[row[head] for head in layer] for layer, row in zip(heads, distances, strict=True)]
            merged = (merge_ffns([kept[layer] for layer in layers], eps, equal_counts) for layers in spec.stages)
            ffns = [layers[source] for layers, sources in zip(spec.stages, merged, strict=True) for source in sources]
        learngene = cls(spec, heads, ffns, clusters, distances, centroid, ffn_centroid)
        learngene.take(ancestry)
        learngene.provenance |= {"eps": eps, "equal_counts": equal_counts}
        return learngene

    @torch.no_grad()
    def take(self, ancestry: ViTWeights) -> None:
        """Copy what the learngene keeps of the ancestry."""
        own, blocks = self.learngene.tensors(), ancestry.layers()
        for name, tensor in ancestry.stem().items():
            own[name].copy_(tensor)
        average = self.config["centroid"] == "average"
        groups = self.config["clusters"] if average else [[[h] for h in layer] for layer in self.config["heads"]]
        for prefix, layers in stage_prefixes(self.aux_spec).items():
            for name in blocks[layers[0]]:
                if name in self.head_axes:
                    axis = self.head_axes[name]
                    kept = [
                        torch.stack([blocks[layer][name].select(axis, head) for head in group]).mean(0)
                        for layer in layers
                        for group in groups[layer]
                    ]
                    own[prefix + name].copy_(torch.stack(kept, axis))
                elif name in FFN:
                    kept = [
                        torch.stack([blocks[layer][name] for layer in self._run(source)]).mean(0)
                        for source in layers
                        if source in self.runs
                    ]
                    own[prefix + name].copy_(torch.stack(kept))
                else:
                    own[prefix + name].copy_(torch.stack([blocks[layer][name] for layer in layers]))

    def _run(self, source: int) -> list[int]:
        """The layers that the stored FFN of ``source`` comes from: all whose average it is, or one layer."""
        of = self.config["ffns"] if self.config["ffn_centroid"] == "average" else range(source + 1)
        return [layer for layer, its in enumerate(of) if its == source]

    # ------------------------------------------------------------------ expansion

    def _expand(self, spec: ViTSpec, *, depth: str, repeat_correction: bool, order: str) -> ViTWeights:
        """Give each layer its heads by priority weight sharing and its FFN by the run's map."""
        own, layers = self.learngene.tensors(), self._layers()
        chosen = list(zip(chosen_stages(depth, spec, self.aux_spec), spec.heads, strict=True))
        entries = list(dict.fromkeys(chosen))
        blocks = {name: [] for name in layers[0]}
        for source, heads in entries:
            ranks = self.ranks(source, order)
            index = torch.tensor([ranks[rank] for rank in share_heads(self.counts[source], heads)])
            uses = index.bincount()[index, None].to(own["patch_embed.weight"].device)
            index = index.to(uses.device)
            for name, tensor in layers[source].items():
                if name in self.head_axes:
                    tensor = tensor.index_select(self.head_axes[name], index)
                if name == "proj.weight" and repeat_correction:
                    tensor = tensor / uses
                blocks[name].append(tensor)
        stem = {name: own[name] for name in spec.stem_shapes()}
        return ViTWeights(spec, {**stem, **blocks}, [entries.index(entry) for entry in chosen])

    def _layers(self) -> list[dict[str, Tensor]]:
        """The tensors of each layer of the ancestry, of its heads the centroids, its FFN from the run's map."""
        own, maps = self.learngene.tensors(), self.maps.tensors()
        found = []
        for prefix, layers in stage_prefixes(self.aux_spec).items():
            names = list(self.aux_spec.layer_shapes(layers[0]))
            counts = [self.counts[layer] for layer in layers]
            heads = {name: own[prefix + name].split(counts, axis) for name, axis in self.head_axes.items()}
            ffn, ffns = [name for name in names if name in FFN], []
            for row, source in enumerate(layer for layer in layers if layer in self.runs):
                run = {name: own[prefix + name][row : row + 1] for name in ffn}
                if self.runs[source] > 1:
                    run = {name: mapped(tensor, maps, f"ffn{source}") for name, tensor in run.items()}
                ffns += [{name: run[name][number] for name in ffn} for number in range(self.runs[source])]
            kept = [name for name in names if name not in FFN and name not in heads]
            for row in range(len(layers)):
                tensors = {name: own[prefix + name][row] for name in kept}
                found.append({**tensors, **{name: heads[name][row] for name in heads}, **ffns[row]})
        return found


def _rounded(distances: Tensor | Sequence[Sequence[float]], spec: ViTSpec) -> list[list[float]]:
    """Distances to a thousandth of a pixel, as many in each layer as it has heads; NaN fills rows of fewer heads.

    Raises:
        LearngeneError: they are not those of the ancestry's heads.
    """
    rows = distances.tolist() if isinstance(distances, Tensor) else distances
    kept = [[round(distance, 3) for distance in row if not math.isnan(distance)] for row in rows]
    if (counts := [len(row) for row in kept]) != list(spec.heads):
        raise LearngeneError(f"distances of {counts} heads do not fit the ancestry {spec}")
    return kept
