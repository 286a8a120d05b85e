"""Facts of learngenes that are a stack of whole layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...errors import LearngeneError, check_choice
from ...vit.spec import ViTSpec
from ...vit.tensors import spread
from .base import Facts, checked_map, derived_spec, unequal_layers

LAYOUTS = ("stages", "cycle")


class StackedFacts(Facts):
    """See :class:`mmlearngene.learngenes.StackedLearngene`."""

    def __init__(self, aux: ViTSpec, num_layers: int, learngene: str | ViTSpec | Mapping | None = None) -> None:
        self.check_treats(aux)
        super().__init__(derived_spec(self.method, learngene, aux.replace(num_layers=num_layers)), aux)

    @classmethod
    def refuses(cls, spec: ViTSpec) -> str | None:
        """Stages, whose layers are not equal; and layers with different heads."""
        return unequal_layers(spec)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """The canonical tensors of the stack."""
        return {f"learngene.{name}": shape for name, shape in self.learngene_spec.shapes().items()}


class SWSFacts(StackedFacts):
    """See :class:`mmlearngene.learngenes.sws.SWS`.

    Args:
        learngene: its size, which follows from ``aux`` and ``stages``: one layer a stage.
        aux: size of the Aux-Net, 16 layers in the paper.
        stages: number of Aux-Net layers in each stage, 3-3-4-3-3 in the paper.
        layout: ``stages``, or ``cycle``: layer i has set i modulo their number, so that a set's layers are all over the
            network and know of no stage.
        **vit: fields of :class:`ViTSpec` (``img_size``, ``num_classes``, ...).

    Raises:
        LearngeneError: the stages do not add up to the Aux-Net's depth, or a size does not fit.
    """

    method = "sws"

    def __init__(
        self,
        learngene: str | ViTSpec | Mapping | None = None,
        aux: str | ViTSpec | Mapping = "h6-l16",
        stages: Sequence[int] = (3, 3, 4, 3, 3),
        layout: str = "stages",
        **vit,
    ) -> None:
        aux, stages = ViTSpec.parse(aux, **vit), list(stages)
        self.check_treats(aux)
        if not stages or min(stages) < 1 or sum(stages) != aux.num_layers:
            near = spread(aux.num_layers, max(1, min(len(stages), aux.num_layers)))
            raise LearngeneError(
                f"stages={stages} do not divide the {aux.num_layers} layers of {aux}; the nearest that do are "
                f"{[near.count(stage) for stage in sorted(set(near))]}"
            )
        check_choice(layout, LAYOUTS, "layout")
        super().__init__(aux, len(stages), learngene)

    def default_stages(self, num_layers: int) -> list[int]:
        """The stage of each layer: the Aux-Net's own layout at its depth, else equally many layers a stage.

        The remainder goes to the earliest stages; with fewer layers than stages, the stages are evenly spaced. In a
        cycle they follow each other at every depth.
        """
        counts = self.config["stages"]
        if self.config["layout"] == "cycle":
            return [layer % len(counts) for layer in range(num_layers)]
        if num_layers == self.aux_spec.num_layers:
            return [stage for stage, count in enumerate(counts) for _ in range(count)]
        return spread(num_layers, len(counts))

    def check_expansion(self, spec: ViTSpec, *, stages: Sequence[int] | None = None) -> None:
        """Check the stages.

        Args:
            stages: for each layer its stage, from 0; :meth:`default_stages` unless given.
        """
        if stages is not None:
            checked_map("stages", stages, spec, self.learngene_spec.num_layers, "stage")


class TLEGFacts(StackedFacts):
    """See :class:`mmlearngene.learngenes.tleg.TLEG`.

    Args:
        learngene: its size, which follows from ``aux``: two layers.
        aux: size of the Aux-Net, 12 layers in the paper.
        **vit: fields of :class:`ViTSpec` (``img_size``, ``num_classes``, ...).

    Raises:
        LearngeneError: a size that does not fit ``aux``.
    """

    method = "tleg"

    def __init__(
        self,
        learngene: str | ViTSpec | Mapping | None = None,
        aux: str | ViTSpec | Mapping = "h6-l12",
        **vit,
    ) -> None:
        super().__init__(ViTSpec.parse(aux, **vit), 2, learngene)
