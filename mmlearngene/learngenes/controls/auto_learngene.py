"""Auto-Learngene (Wang et al., 2023)."""

from __future__ import annotations

from collections.abc import Sequence

from ..facts.controls import AutoLearngeneFacts
from ..methods import register
from .layers import SomeLayers


@register
class AutoLearngene(AutoLearngeneFacts, SomeLayers):
    """Auto-Learngene: the ancestry's first layers, at the descendant's beginning (Wang et al., 2023)."""

    def _kept(self, layers: range) -> Sequence[int]:
        return layers[: self.layers]

    def _layer_map(self, num_layers: int) -> Sequence[int | None]:
        kept = range(self.layers)[:num_layers]
        return list(kept) + [None] * (num_layers - len(kept))
