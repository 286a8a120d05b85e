"""Weight selection (Xu et al., ICLR 2024)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...vit.spec import ViTSpec
from ...vit.tensors import LAYER_TENSORS, row_of
from ...vit.weights import ViTWeights
from ..facts.ancestry import chosen_layers
from ..facts.controls import WeightSelectionFacts
from ..methods import register
from .layers import WholeAncestry


@register
class WeightSelection(WeightSelectionFacts, WholeAncestry):
    """Weight selection: evenly spaced channels of the ancestry's layers (Xu et al., ICLR 2024).

    Along every axis of every tensor on which the descendant is smaller, its entries are evenly spaced ones of the
    ancestry. An axis has the same meaning, so the same selection, in every tensor: channels stay consistent through the
    network. Heads are such an axis here, so whole heads are selected, the same in q, k, v and proj (``unit='head'``).
    The published code selects rows of the fused qkv matrix (``unit='row'``).
    """

    def _expand(self, spec: ViTSpec, *, depth: str, unit: str) -> ViTWeights:
        """Select the entries of every axis."""
        kept = chosen_layers(depth, spec.num_layers, self.aux_spec.num_layers)
        tensors = self.learngene.tensors()
        for name, shape in spec.shapes().items():
            tensor, axis = tensors[name], 0
            if name in LAYER_TENSORS:
                tensor, axis = tensor[kept] if len(kept) < len(tensor) else tensor, 1
            for count in row_of(spec, name).groups if unit == "row" else [1] * (len(shape) - axis):
                tensor = _evenly(tensor, axis, shape[axis : axis + count])
                axis += count
            tensors[name] = tensor
        return ViTWeights(spec, tensors)


def _evenly(tensor: Tensor, axis: int, sizes: Sequence[int]) -> Tensor:
    """Evenly spaced entries of adjacent axes from ``axis`` on, taken as one: as many as ``sizes`` hold.

    By the published code's rule: a constant step from 0 where one fits, else rounded equal distances up to the last.
    """
    last = axis + len(sizes)
    if tensor.shape[axis:last] == torch.Size(sizes):
        return tensor
    flat, count = tensor.flatten(axis, last - 1), math.prod(sizes)
    among = flat.shape[axis]
    if among % count:
        index = torch.linspace(0, among - 1, count).round().long()
    else:
        index = torch.arange(0, among, among // count)
    return flat.index_select(axis, index.to(tensor.device)).unflatten(axis, tuple(sizes))
