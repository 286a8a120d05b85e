"""The spec of a Vision Transformer: all that decides what it computes, beside its weights."""

from __future__ import annotations

from dataclasses import dataclass

from . import tensors
from .fields import CHOICES, MAX, POOLS, SIZES, WORDS, ViTFields

__all__ = ["CHOICES", "MAX", "POOLS", "SIZES", "WORDS", "ViTSpec"]


@dataclass(frozen=True)
class ViTSpec(ViTFields):
    """The size and features of a Vision Transformer. Two models of equal spec and weights compute the same.

    Its fields, and what their names mean, are those of :class:`~mmlearngene.vit.fields.ViTFields`; its tensors those of
    :mod:`mmlearngene.vit.tensors`.
    """

    def stem_shapes(self) -> dict[str, tuple[int, ...]]:
        """Canonical shape of the tensors outside the layers."""
        return tensors.stem_shapes(self)

    def layer_shapes(self, layer: int = 0) -> dict[str, tuple[int, ...]]:
        """Canonical shape of one layer's tensors, without the leading layer axis."""
        return tensors.layer_shapes(self, layer)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every canonical tensor of a ViT with equal layers, stacked: name -> shape."""
        layers = {name: (self.num_layers, *shape) for name, shape in self.layer_shapes().items()}
        return {**self.stem_shapes(), **layers}

    @property
    def num_params(self) -> int:
        """Exact number of parameters."""
        return tensors.num_params(self)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image through every matrix product, attention included."""
        return tensors.macs(self)

    @property
    def flops(self) -> int:
        """Floating-point operations of one image: two for each multiply-accumulate."""
        return 2 * self.macs
