"""Uniform-k: evenly spaced layers of the ancestry."""

from __future__ import annotations

from collections.abc import Sequence

from ...vit.tensors import spread
from ..facts.controls import UniformKFacts
from ..methods import register
from .layers import WholeAncestry


@register
class UniformK(UniformKFacts, WholeAncestry):
    """Evenly spaced layers of the ancestry, first and last included; a deeper descendant repeats them in place."""

    def _layer_map(self, num_layers: int) -> Sequence[int]:
        return spread(num_layers, self.aux_spec.num_layers)
