"""Controls that keep layers of an ancestry: all of them, or a few."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...vit.spec import ViTSpec
from ...vit.weights import ViTWeights
from ..base import StackedLearngene
from ..extracted import Extracted
from ..facts.controls import SomeFacts, WholeFacts


class AncestryLayers(StackedLearngene, Extracted):
    """Layers of an ancestry, and all its tensors outside the layers."""

    def take(self, ancestry: ViTWeights) -> None:
        """Keep the tensors outside the layers and the layers :meth:`_kept`."""
        layers = ancestry.layers()
        kept = self._kept(range(len(layers)))
        blocks = {name: torch.stack([layers[i][name] for i in kept]) for name in layers[0]}
        self.learngene.load_state_dict({**ancestry.stem(), **blocks})

    def _kept(self, layers: range) -> Sequence[int]:
        """Those of the ancestry's layers that are kept."""
        return layers

    def _layer_map(self, num_layers: int) -> Sequence[int | None]:
        """For each layer of a descendant the kept layer that it is; None for a layer that starts at random."""
        raise NotImplementedError

    def _expand(self, spec: ViTSpec) -> ViTWeights:
        return ViTWeights(spec, self.learngene.tensors(), tuple(self._layer_map(spec.num_layers)))


class WholeAncestry(WholeFacts, AncestryLayers):
    """A control that keeps the whole ancestry and takes from it what a descendant's size asks for."""


class SomeLayers(SomeFacts, AncestryLayers):
    """A control that keeps a few layers of the ancestry; the descendant's other layers start at random."""

    min_inherited = 0.0
