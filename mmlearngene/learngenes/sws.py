"""SWS: stage-wise weight sharing (Xia, Zhu, Yang, Geng, IJCAI 2024).

The layers of an Aux-Net are divided into stages, and all layers of a stage share one set of weights. The sets are
trained together by distillation; a descendant repeats each as often as its depth asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..errors import LearngeneError, check_choice
from ..vit.spec import ViTSpec
from ..vit.weights import ViTWeights, spread
from .base import StackedLearngene, checked_map
from .methods import register

LAYOUTS = ("stages", "cycle")


@register
class SWS(StackedLearngene):
    """One layer of weights for each stage, and the tensors outside the layers.

    Layer i of a ViT is the weights of its stage: no arithmetic, only copies. Inside a stage, layers of the expansion
    share one entry, so an Aux-Net stores and differentiates each stage once. The width is the Aux-Net's.

    ``learngene.*`` stacks the stages along the axis of layers; the other tensors are copied.

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

    @torch.no_grad()
    def start_from(self, weights: ViTWeights) -> None:
        """Each layer is a stage's."""
        self.learngene.copy_(weights)

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

    def _expand(self, spec: ViTSpec, *, stages: Sequence[int] | None = None) -> ViTWeights:
        """Repeat the stages.

        Args:
            stages: for each layer its stage, from 0; :meth:`default_stages` unless given.
        """
        if stages is None:
            stages = self.default_stages(spec.num_layers)
        stages = checked_map("stages", stages, spec, self.learngene_spec.num_layers, "stage")
        return ViTWeights(spec, self.learngene.tensors(), tuple(stages))
