"""First-k: the first layers of the ancestry."""

from __future__ import annotations

from collections.abc import Sequence

from ..facts.controls import FirstKFacts
from ..methods import register
from .layers import WholeAncestry


@register
class FirstK(FirstKFacts, WholeAncestry):
    """The first layers of the ancestry, as many as the descendant has."""

    def _layer_map(self, num_layers: int) -> Sequence[int]:
        return range(num_layers)
