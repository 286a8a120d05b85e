"""Polynomial: a learngene that is trained in an Aux-Net, every tensor a polynomial of the layer's position."""

import torch

from mmlearngene import ViTSpec, ViTWeights
from mmlearngene.learngenes import StackedLearngene, register
from mmlearngene.vit.tensors import LAYER_TENSORS


@register
class Polynomial(StackedLearngene):
    """Layer l of L has the weights sum over k of theta_k * ((l - 1) / L) ** k; degree 1 is TLEG.

    Args:
        learngene: its size, which follows from ``aux`` and ``degree``.
        aux: size of the Aux-Net.
        degree: of the polynomial.
        **vit: fields of ViTSpec.
    """

    method = "polynomial"

    def __init__(self, learngene=None, aux="h6-l12", degree: int = 2, **vit):
        super().__init__(ViTSpec.parse(aux, **vit), degree + 1, learngene)
        with torch.no_grad():  # at first all layers are equal
            for name in LAYER_TENSORS & self.learngene.tensors().keys():
                self.learngene.tensors()[name][1:] = 0

    def _expand(self, spec: ViTSpec, *, reverse: bool = False) -> ViTWeights:
        """Evaluate the polynomials.

        Args:
            reverse: whether the last layer comes first.
        """
        tensors = self.learngene.tensors()
        layers = torch.arange(spec.num_layers, device=tensors["patch_embed.weight"].device)
        layers = layers.flip(0) if reverse else layers
        powers = torch.arange(self.config["degree"] + 1, device=layers.device)
        matrix = (layers[:, None] / spec.num_layers) ** powers
        for name in LAYER_TENSORS & tensors.keys():
            tensors[name] = torch.tensordot(matrix.to(tensors[name]), tensors[name], 1)
        return ViTWeights(spec, tensors)
