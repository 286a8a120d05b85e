"""TLEG: Transformer as linear expansion of learngene (Xia, Zhang, Yang, Chen, Chen, Geng, AAAI 2024).

Every tensor of a layer is a linear function of the layer's position, so that two layers of weights make a ViT of
any depth. Both are trained together in an Aux-Net by distillation.
"""

from __future__ import annotations

import torch

from ..vit.spec import ViTSpec
from ..vit.tensors import LAYER_TENSORS
from ..vit.weights import ViTWeights
from .base import StackedLearngene
from .facts.stacked import TLEGFacts
from .methods import register


@register
class TLEG(TLEGFacts, StackedLearngene):
    """Two layers of weights, theta_B and theta_A, and the tensors outside the layers.

    Layer l = 1..L of a ViT of depth L is ``theta_B + (l - 1) / L * theta_A``, for every weight and bias of the layer
    (LayerNorms, qkv, proj, fc1, fc2): the first layer is theta_B, none reaches theta_B + theta_A. The descendant's own
    L gives any depth; its width is the Aux-Net's.

    ``learngene.*`` stacks (theta_B, theta_A) along the axis of layers, (2, ...); positions, patch embedding, final
    norm and head are copied. Start values are a ViT's usual ones, but theta_A's norms and LayerScales are 0.
    """

    def _create(self) -> None:
        super()._create()
        with torch.no_grad():
            for name, tensor in self.learngene.tensors().items():
                if name in LAYER_TENSORS and "norm" in name or name.endswith(".gamma"):
                    tensor[1] = 0

    @torch.no_grad()
    def start_from(self, weights: ViTWeights) -> None:
        """The two layers are the first and the last of the Aux-Net, which theta_B and theta_A then give."""
        self.learngene.copy_(weights)
        depth = self.aux_spec.num_layers
        for name in LAYER_TENSORS & weights.tensors.keys():
            tensor = self.learngene.tensors()[name]
            tensor[1] = (tensor[1] - tensor[0]) * depth / max(1, depth - 1)

    def _expand(self, spec: ViTSpec) -> ViTWeights:
        tensors = self.learngene.tensors()
        for name in LAYER_TENSORS & tensors.keys():
            base, slope = tensors[name].split(1)
            position = torch.arange(spec.num_layers, device=base.device, dtype=base.dtype) / spec.num_layers
            tensors[name] = base + position.view(-1, *[1] * (base.ndim - 1)) * slope
        return ViTWeights(spec, tensors)
