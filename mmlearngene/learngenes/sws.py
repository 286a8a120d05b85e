"""SWS: stage-wise weight sharing (Xia, Zhu, Yang, Geng, IJCAI 2024).

The layers of an Aux-Net are divided into stages, and all layers of a stage share one set of weights. The sets are
trained together by distillation; a descendant repeats each as often as its depth asks for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..vit.spec import ViTSpec
from ..vit.weights import ViTWeights
from .base import StackedLearngene
from .facts.stacked import SWSFacts
from .methods import register


@register
class SWS(SWSFacts, StackedLearngene):
    """One layer of weights for each stage, and the tensors outside the layers.

    Layer i of a ViT is the weights of its stage: no arithmetic, only copies. Inside a stage, layers of the expansion
    share one entry, so an Aux-Net stores and differentiates each stage once. The width is the Aux-Net's.

    ``learngene.*`` stacks the stages along the axis of layers; the other tensors are copied.
    """

    @torch.no_grad()
    def start_from(self, weights: ViTWeights) -> None:
        """Each layer is a stage's."""
        self.learngene.copy_(weights)

    def _expand(self, spec: ViTSpec, *, stages: Sequence[int] | None) -> ViTWeights:
        """Repeat the stages."""
        stages = self.default_stages(spec.num_layers) if stages is None else stages
        return ViTWeights(spec, self.learngene.tensors(), tuple(stages))
