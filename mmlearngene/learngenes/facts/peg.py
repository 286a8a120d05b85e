"""Facts of PEG, see :mod:`mmlearngene.learngenes.peg`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ...errors import LearngeneError, check_choice
from ...utils.typed import Count, Seed
from ...vit.spec import ViTSpec
from .ancestry import FFN, check_ordinary, chosen_layers, chosen_stages, map_shapes, stage_prefixes, with_heads
from .base import Facts, derived_spec

SAMPLINGS = ("gaussian", "uniform", "identity")
PROJECTIONS = ("cut", "mixed")
FORMS = ("folded", "maps")
HEADS_RATIO, LAYERS_RATIO = 1.5, 2  # 8 -> 12 heads and 6 -> 12 FFNs in the paper


class PEGFacts(Facts):
    """See :class:`mmlearngene.learngenes.peg.PEG`.

    Args:
        aux: the ancestry's size.
        heads: learngene heads of each layer (a list: of the layers of each stage); two thirds of the ancestry's,
            rounded up, when omitted.
        layers: learngene FFNs (a list: of each stage); half of the ancestry's layers, rounded up, when omitted.
        seed: of all draws.
        sampling: how heads and FFNs are mixed, see :func:`mixture`. ``uniform`` is the paper's ablation.
        map_init: how the maps' mixtures are drawn.
        projection: the output projection of a descendant's heads. ``cut``: the ancestry's, of as many heads (the
            released code); ``mixed``: mixed with the heads and expanded by the map of the values.
        redraw: whether the mixtures are to be drawn anew every epoch, see :meth:`draw`.
        linear: maps without ReLU, the paper's ablation; only folded.
        ffn_outputs: outputs of ``maps.ffn``, so the largest depth of a descendant (a list: of each stage); the
            ancestry's layers when omitted. The paper's transfer has 9 of 6.
        learngene: the size that follows from ``aux`` and ``heads``; files give it.

    Raises:
        LearngeneError: a number is not positive or a choice is unknown.
    """

    method = "peg"
    keeps_width = True

    @classmethod
    def refuses(cls, spec: ViTSpec) -> str | None:
        """What is not linear in the heads, or already a map of them."""
        for has, words in (
            (spec.qk_norm, "norm of queries and keys (qk_norm)"),
            (spec.scale_attn_norm, "norm inside the attention (scale_attn_norm)"),
            (spec.rope == "mixed", "learned rotary positions (rope = mixed)"),
            (spec.learngene_heads, "maps over the heads (learngene_heads)"),
        ):
            if has:
                return f"{words}: it does not commute with a mixture of heads"
        return None

    def __init__(
        self,
        aux: str | ViTSpec | Mapping,
        heads: Count | Sequence[Count] | None = None,
        layers: Count | Sequence[Count] | None = None,
        seed: Seed = 0,
        sampling: str = "gaussian",
        map_init: str = "gaussian",
        projection: str = "cut",
        redraw: bool = False,
        linear: bool = False,
        ffn_outputs: int | Sequence[int] | None = None,
        learngene: str | ViTSpec | Mapping | None = None,
    ) -> None:
        aux = ViTSpec.parse(aux)
        check_ordinary(aux)
        self.stages = stage_prefixes(aux)
        few = [aux.heads[of.start] for of in self.stages.values()], [len(of) for of in self.stages.values()]
        b = _each_stage("heads", heads, [math.ceil(count / HEADS_RATIO) for count in few[0]])
        B = _each_stage("layers", layers, [math.ceil(count / LAYERS_RATIO) for count in few[1]])
        own = derived_spec(self.method, learngene, with_heads(aux, b if aux.depths else b[0]))
        check_choice(sampling, SAMPLINGS, "sampling")
        check_choice(map_init, SAMPLINGS, "map_init")
        check_choice(projection, PROJECTIONS, "projection")
        self.config.update(heads=b if aux.depths else b[0], layers=B if aux.depths else B[0])
        depths = [len(of) for of in self.stages.values()]
        self.ffn_outputs = _each_stage("ffn_outputs", ffn_outputs, depths)
        if any(count > depth for count, depth in zip(self.ffn_outputs, depths, strict=True)):
            raise LearngeneError(
                f"ffn_outputs={ffn_outputs}: the ancestry {aux} has {depths} layers, the most there can be"
            )
        super().__init__(own, aux)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Mixed heads and FFNs, everything else, and the maps."""
        aux, own = self.aux_spec, self.learngene_spec
        shapes, layers = own.stem_shapes(), self.config["layers"]
        for (prefix, of), few in zip(self.stages.items(), layers if aux.depths else [layers], strict=True):
            for name, shape in own.layer_shapes(of.start).items():
                if name == "proj.weight" and self.config["projection"] == "cut":
                    shape = aux.layer_shapes(of.start)[name]
                shapes[prefix + name] = (few if name in FFN else len(of), *shape)
        shapes = {f"learngene.{name}": shape for name, shape in shapes.items()}
        for name, mixture in self.map_mixtures().items():
            shapes |= {f"maps.{name}.{part}": shape for part, shape in map_shapes(mixture).items()}
        return shapes

    def map_mixtures(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the mixtures that the maps start as: name of the map -> (..., outputs, inputs)."""
        aux, own, layers = self.aux_spec, self.learngene_spec, self.config["layers"]
        found = {}
        for (prefix, of), few, outputs in zip(
            self.stages.items(), layers if aux.depths else [layers], self.ffn_outputs, strict=True
        ):
            heads = (len(of), aux.heads[of.start], own.heads[of.start])
            found |= {f"{prefix}logits": heads, f"{prefix}values": heads, f"{prefix}ffn": (outputs, few)}
        return found

    def head_range(self, stage: int = 0) -> range:
        """Up to the ancestry's, as many as the maps have outputs."""
        return range(1, self.aux_spec.heads[self.aux_spec.stages[stage].start] + 1)

    def layer_range(self, stage: int = 0) -> range:
        """As many as the map of the FFNs has outputs."""
        return range(1, self.ffn_outputs[stage] + 1)

    def check_expansion(self, spec: ViTSpec, *, form: str = "folded", depth: str = "first") -> None:
        """Check the options, and that ancestry and maps have the layers.

        Args:
            form: ``folded`` evaluates all maps on the weights, which gives a plain ViT; ``maps`` leaves those of the
                heads to the ``PEGAttention`` of a :class:`~mmlearngene.models.PEGViT`, as in the paper.
            depth: the ancestry layers that a shallower descendant takes, ``first`` or ``uniform``.
        """
        check_choice(form, FORMS, "form")
        if form == "maps" and (spec.rel_pos_bias or spec.depths):
            raise LearngeneError("form='maps' is for a ViT without relative-position bias; use form='folded'")
        if form == "maps" and self.config["linear"]:
            raise LearngeneError("form='maps' has a ReLU in its maps, which linear=True is without; use form='folded'")
        chosen_stages(depth, spec, self.aux_spec)
        for layers, outputs in zip(spec.stages, self.ffn_outputs, strict=True):
            chosen_layers(depth, len(layers), outputs)


def _each_stage(name: str, given: int | Sequence[int] | None, default: list[int]) -> list[int]:
    """A number for each stage.

    Raises:
        LearngeneError: not as many as stages, or one is not positive.
    """
    numbers = default if given is None else [given] * len(default) if isinstance(given, int) else list(given)
    if len(numbers) != len(default):
        raise LearngeneError(f"{name}={given}: expected one number, or one for each stage, as in {default}")
    if min(numbers) < 1:
        raise LearngeneError(f"{name}={given} must be positive; the usual is {default}")
    return numbers
