"""Facts of the controls, see :mod:`mmlearngene.learngenes.controls`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ...errors import LearngeneError, check_choice
from ...utils.typed import Seed
from ...vit.spec import ViTSpec
from .ancestry import chosen_layers
from .base import Facts, derived_spec, unequal_layers
from .stacked import StackedFacts

Size = str | ViTSpec | Mapping
UNITS = ("head", "row")  # of weight selection
HEADS = ("fused", "apart")  # of FRONT


class UpToAncestry(Facts):
    """A control that makes ViTs of at most the ancestry's heads and layers."""

    def head_range(self, stage: int = 0) -> range:
        """Up to the ancestry's heads."""
        return range(1, self.aux_spec.num_heads + 1)

    def layer_range(self, stage: int = 0) -> range:
        """Up to the ancestry's depth."""
        return range(1, self.aux_spec.num_layers + 1)


class AnyHeads(Facts):
    """A control that makes ViTs of any number of heads."""

    def head_range(self, stage: int = 0) -> range:
        """Any number, but a range must end."""
        return range(1, 65)


class WholeFacts(StackedFacts):
    """A control that keeps the whole ancestry.

    Args:
        learngene: its size, the ancestry's.
        aux: size of the ancestry.
        **vit: fields of :class:`ViTSpec`.
    """

    def __init__(self, learngene: Size | None = None, aux: Size = "h6-l12", **vit) -> None:
        spec = ViTSpec.parse(aux, **vit)
        super().__init__(spec, spec.num_layers, learngene)


class PreFinFacts(UpToAncestry, WholeFacts):
    """See :class:`mmlearngene.learngenes.controls.PreFin`."""

    method = "pre-fin"
    keeps_width = True

    def layer_range(self, stage: int = 0) -> range:
        """The ancestry's depth."""
        return range(self.aux_spec.num_layers, self.aux_spec.num_layers + 1)


class FirstKFacts(WholeFacts):
    """See :class:`mmlearngene.learngenes.controls.FirstK`."""

    method = "first-k"

    def layer_range(self, stage: int = 0) -> range:
        """Up to the ancestry's depth."""
        return range(1, self.aux_spec.num_layers + 1)


class UniformKFacts(WholeFacts):
    """See :class:`mmlearngene.learngenes.controls.UniformK`."""

    method = "uniform-k"


class WeightSelectionFacts(UpToAncestry, WholeFacts):
    """See :class:`mmlearngene.learngenes.controls.WeightSelection`."""

    method = "weight-selection"
    equal_layers = True

    def check_expansion(self, spec: ViTSpec, *, depth: str = "first", unit: str = "head") -> None:
        """Check the options and the width.

        Args:
            depth: ``first``: the ancestry's first layers, the paper's choice for ViTs; ``uniform``: evenly spaced.
            unit: what is selected of q, k, v and into proj: whole heads (``head``), or single rows of the fused
                matrices as in the published code (``row``), which puts rows of several heads into one.
        """
        check_choice(unit, UNITS, "unit")
        if spec.embed_dims > self.aux_spec.embed_dims:
            raise LearngeneError(
                f"weight-selection makes a ViT narrower: embed_dims={spec.embed_dims} is more than the ancestry's "
                f"{self.aux_spec.embed_dims}"
            )
        chosen_layers(depth, spec.num_layers, self.aux_spec.num_layers)


class FRONTFacts(AnyHeads, WholeFacts):
    """See :class:`mmlearngene.learngenes.controls.FRONT`."""

    method = "front"
    equal_layers = True

    def check_expansion(self, spec: ViTSpec, *, heads: str = "fused", ratio: bool = False) -> None:
        """Check the options.

        Args:
            heads: ``fused``: axes are those of timm's tensors, as in the released code: q, k, v and all their heads are
                one axis, and so are the channels of the patch kernel; ``apart``: heads are an axis of their own, so
                that a new head is a mixture of whole heads, and q, k and v stay apart.
            ratio: multiply by the new size of each such axis over the old one, so that amplitudes stay what they were
                (``use_ratio`` of the released code).
        """
        check_choice(heads, HEADS, "heads")


class SomeFacts(StackedFacts):
    """A control that keeps a few layers of the ancestry.

    Args:
        learngene: its size, which follows from the ancestry's and ``layers``.
        aux: size of the ancestry.
        layers: layers kept; ``default_layers``, or all of a shallower ancestry, when omitted.
        **vit: fields of :class:`ViTSpec`.

    Raises:
        LearngeneError: the ancestry has fewer layers.
    """

    default_layers: ClassVar[int]

    def __init__(self, learngene: Size | None = None, aux: Size = "h6-l12", layers: int | None = None, **vit) -> None:
        spec = ViTSpec.parse(aux, **vit)
        layers = min(self.default_layers, spec.num_layers) if layers is None else layers
        if not 1 <= layers <= spec.num_layers:
            near = min(max(layers, 1), spec.num_layers)
            raise LearngeneError(f"layers={layers}: the ancestry {spec} has {spec.num_layers}; the nearest is {near}")
        self.config["layers"] = layers
        super().__init__(spec, layers, learngene)

    @property
    def layers(self) -> int:
        """Layers kept."""
        return self.learngene_spec.num_layers


class HeuristicFacts(SomeFacts):
    """See :class:`mmlearngene.learngenes.controls.Heuristic`."""

    method = "heuristic"
    default_layers = 3


class AutoLearngeneFacts(SomeFacts):
    """See :class:`mmlearngene.learngenes.controls.AutoLearngene`."""

    method = "auto-learngene"
    default_layers = 6


class ScratchFacts(AnyHeads):
    """See :class:`mmlearngene.learngenes.controls.Scratch`.

    Args:
        learngene: a size, the ancestry's.
        aux: size of the ancestry, which gives what a descendant's size leaves open.
        **vit: fields of :class:`ViTSpec`.
    """

    method = "scratch"

    def __init__(self, learngene: Size | None = None, aux: Size = "h6-l12", **vit) -> None:
        spec = ViTSpec.parse(aux, **vit)
        super().__init__(derived_spec(self.method, learngene, spec), spec)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """None."""
        return {}


class MimeticFacts(ScratchFacts):
    """See :class:`mmlearngene.learngenes.controls.Mimetic`.

    Args:
        learngene: a size, the ancestry's.
        aux: size of the ancestry.
        seed: of the random numbers; the same seed gives the same weights.
        **vit: fields of :class:`ViTSpec`.
    """

    method = "mimetic"
    equal_layers = True

    @classmethod
    def refuses(cls, spec: ViTSpec) -> str | None:
        """Stages and unequal layers."""
        return unequal_layers(spec)

    def __init__(self, learngene: Size | None = None, aux: Size = "h6-l12", seed: Seed = 0, **vit) -> None:
        super().__init__(learngene, aux, **vit)

    def check_expansion(self, spec: ViTSpec) -> None:
        """Check that the width can be that of sines and cosines, and of the heads."""
        width, inner = spec.embed_dims, spec.inner_dims
        if width % 4 or inner > width:
            raise LearngeneError(
                f"mimetic needs embed_dims divisible by 4 and at least the {inner} channels of all heads, not {width}"
            )
