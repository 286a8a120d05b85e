"""Scratch: nothing is inherited."""

from __future__ import annotations

from ...vit.spec import ViTSpec
from ...vit.weights import ViTWeights
from ..extracted import Extracted
from ..facts.controls import ScratchFacts
from ..methods import register


@register
class Scratch(ScratchFacts, Extracted):
    """Nothing is inherited: every tensor keeps the model's own start values."""

    min_inherited = 0.0

    def take(self, ancestry: ViTWeights) -> None:
        """Nothing but the size."""

    def _expand(self, spec: ViTSpec) -> ViTWeights:
        return ViTWeights(spec, {})
