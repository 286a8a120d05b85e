"""Facts of Cluster-Learngene, see :mod:`mmlearngene.learngenes.cluster`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ...errors import LearngeneError, check_choice
from ...utils.typed import shortened
from ...vit.spec import ViTSpec
from .ancestry import FFN, check_ordinary, chosen_stages, map_shapes, stage_prefixes, tensors_of, with_heads
from .base import Facts, derived_spec

CENTROIDS = ("nearest", "average")
FFN_CENTROIDS = ("first", "average")
ORDERS = ("priority", "origin", "increasing", "decreasing")
MAX_HEADS = 64


class ClusterFacts(Facts):
    """See :class:`mmlearngene.learngenes.cluster.Cluster`.

    Args:
        aux: the ancestry's size.
        heads: for each layer the centroid heads in order of priority.
        ffns: for each layer the layer whose FFN it uses; each its own when omitted.
        clusters: for each layer the heads behind each centroid, in the same order; for figures, and for averaging.
        distances: mean attention distance of each head of each layer in pixels; for figures.
        centroid: ``nearest`` or ``average``, see :meth:`extract`.
        ffn_centroid: ``first`` or ``average``, see :meth:`extract`.
        learngene: the size that follows from ``aux`` and ``heads``; files give it.

    Raises:
        LearngeneError: ``heads`` or ``ffns`` do not fit the ancestry.
    """

    method = "cluster"
    keeps_width = True

    @classmethod
    def refuses(cls, spec: ViTSpec) -> str | None:
        """Heads that maps make of fewer."""
        return "maps over the heads (learngene_heads): its heads are mixtures already" if spec.learngene_heads else None

    def __init__(
        self,
        aux: str | ViTSpec | Mapping,
        heads: Sequence[Sequence[int]],
        ffns: Sequence[int] | None = None,
        clusters: Sequence[Sequence[Sequence[int]]] | None = None,
        distances: Sequence[Sequence[float]] | None = None,
        centroid: str = "nearest",
        ffn_centroid: str = "first",
        learngene: str | ViTSpec | Mapping | None = None,
    ) -> None:
        aux = ViTSpec.parse(aux)
        check_ordinary(aux)
        heads = [list(layer) for layer in heads]
        ffns = list(range(aux.num_layers) if ffns is None else ffns)
        check_heads(heads, aux)
        _check_ffns(ffns, aux)
        if distances is not None and [len(row) for row in distances] != list(aux.heads):
            raise LearngeneError(f"distances of {shortened([len(row) for row in distances])} heads do not fit {aux}")
        own = derived_spec(self.method, learngene, with_heads(aux, [len(layer) for layer in heads]))
        check_choice(centroid, CENTROIDS, "centroid")
        check_choice(ffn_centroid, FFN_CENTROIDS, "ffn_centroid")
        self.config["ffns"] = ffns
        self.counts = [len(layer) for layer in heads]
        self.runs = Counter(ffns)  # the layer an FFN is from -> how many layers use it
        self.head_axes = tensors_of(aux, "head")
        super().__init__(own, aux)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Centroid heads of all layers one after another, kept FFNs, everything else, and the maps of the FFNs."""
        own, shapes = self.learngene_spec, self.learngene_spec.stem_shapes()
        for prefix, layers in stage_prefixes(self.aux_spec).items():
            for name, shape in own.layer_shapes(layers[0]).items():
                if name in self.head_axes:
                    axis = self.head_axes[name]
                    shape = (*shape[:axis], sum(self.counts[layer] for layer in layers), *shape[axis + 1 :])
                else:
                    shape = (sum(layer in self.runs for layer in layers) if name in FFN else len(layers), *shape)
                shapes[prefix + name] = shape
        shapes = {f"learngene.{name}": shape for name, shape in shapes.items()}
        for source, count in self.shared().items():
            shapes |= {f"maps.ffn{source}.{name}": shape for name, shape in map_shapes((count, 1)).items()}
        return shapes

    def shared(self) -> dict[int, int]:
        """The FFNs that several layers use: the layer that one is from -> how many layers."""
        return {source: count for source, count in self.runs.items() if count > 1}

    def head_range(self, stage: int = 0) -> range:
        """Any number; more than any published ViT has would be a mistake."""
        return range(1, MAX_HEADS + 1)

    def check_expansion(
        self, spec: ViTSpec, *, depth: str = "first", repeat_correction: bool = True, order: str = "priority"
    ) -> None:
        """Check the options, and that the ancestry has the layers.

        Args:
            depth: which of the ancestry's layers a shallower descendant takes: the ``first`` ones (the released code)
                or ``uniform`` ones. Deeper than the ancestry only ``uniform`` goes: layers are then repeated.
            repeat_correction: divide the projection of a head that is used n times by n, so that repeating heads does
                not change what the layer computes.
            order: in which the centroids are handed out: by ``priority``, the paper's choice, or as in its ablation by
                the ancestry's numbering (``origin``), or by ``increasing`` or ``decreasing`` distance.
        """
        check_choice(order, ORDERS, "order")
        for layer in chosen_stages(depth, spec, self.aux_spec):
            self.ranks(layer, order)

    def ranks(self, layer: int, order: str) -> list[int]:
        """The centroids of a layer, by their number in order of priority, in another order."""
        heads = self.config["heads"][layer]
        if order == "priority":
            return list(range(len(heads)))
        if order == "origin":
            return sorted(range(len(heads)), key=heads.__getitem__)
        if self.config["distances"] is None:
            raise LearngeneError(f"order={order!r} needs distances, which this learngene was not extracted by")
        row = self.config["distances"][layer]
        return sorted(range(len(heads)), key=lambda rank: row[heads[rank]], reverse=order == "decreasing")


def check_heads(heads: Sequence[Sequence[int]], aux: ViTSpec) -> None:
    if len(heads) != aux.num_layers:
        raise LearngeneError(f"heads has {len(heads)} layers; the ancestry {aux} has {aux.num_layers}")
    for layer, chosen in enumerate(heads):
        count = aux.heads[layer]
        if not chosen or len(set(chosen)) != len(chosen) or not set(chosen) <= set(range(count)):
            raise LearngeneError(f"heads {list(chosen)} of layer {layer}: expected different ones of 0 to {count - 1}")


def _check_ffns(ffns: Sequence[int], aux: ViTSpec) -> None:
    firsts = [layers.start for layers in aux.stages]  # which have no layer above that they could share with
    runs = [source == layer or (layer not in firsts and source == ffns[layer - 1]) for layer, source in enumerate(ffns)]
    if len(ffns) != aux.num_layers or not all(runs):
        raise LearngeneError(
            f"ffns={list(ffns)}: expected for each of {aux.num_layers} layers its own number, or that of the layer "
            "above where they share an FFN"
        )
