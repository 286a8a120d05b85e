"""Heuristic-Learngene (Wang et al., AAAI 2022)."""

from __future__ import annotations

from collections.abc import Sequence

from ..facts.controls import HeuristicFacts
from ..methods import register
from .layers import SomeLayers


@register
class Heuristic(HeuristicFacts, SomeLayers):
    """Heuristic-Learngene: the ancestry's last layers, at the descendant's end (Wang et al., AAAI 2022)."""

    def _kept(self, layers: range) -> Sequence[int]:
        return layers[-self.layers :]

    def _layer_map(self, num_layers: int) -> Sequence[int | None]:
        kept = range(self.layers)[-num_layers:]
        return [None] * (num_layers - len(kept)) + list(kept)
