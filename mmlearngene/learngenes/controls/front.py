"""FRONT (Shen et al., ICML 2026), without its training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ...vit.spec import ViTSpec
from ...vit.tensors import LAYER_TENSORS, row_of
from ...vit.weights import ViTWeights
from ..facts.controls import FRONTFacts
from ..methods import register
from .layers import WholeAncestry


@register
class FRONT(FRONTFacts, WholeAncestry):
    """FRONT: the low frequencies of the ancestry's tensors (Shen et al., ICML 2026), without its training.

    Each tensor is z-scored, and tensors of a layer are stacked along depth. An unnormalised DCT-II along every axis and
    along depth, of which the lowest frequencies are kept or zeros appended, and the inverse at the descendant's size
    give a tensor whose layer i gets the mean and deviation of the ancestry's layer i back, or of its last one. As both
    transforms are linear, a change of size is one matrix an axis, see :func:`frequency_matrix`.
    """

    def _expand(self, spec: ViTSpec, *, heads: str, ratio: bool) -> ViTWeights:
        """Change the size of every tensor in the frequency domain."""
        fused = heads == "fused"
        tensors = self.learngene.tensors()
        for name, shape in spec.shapes().items():
            tensor, depth = tensors[name], name in LAYER_TENSORS
            if tuple(tensor.shape) == tuple(shape):
                continue
            layers = tensor if depth else tensor[None]
            groups = _fused_axes(spec, name) if fused else [1] * (layers.ndim - 1)
            small, large = _merged(layers.shape[1:], groups), _merged(shape[depth:], groups)
            layers = layers.reshape(len(layers), -1)
            mean, std = layers.mean(1, keepdim=True), layers.std(1, keepdim=True, correction=0) + 1e-8
            result = ((layers - mean) / std).reshape(-1, *small)
            count = shape[0] if depth else 1
            for axis, (old, new) in enumerate(zip(result.shape, (count, *large), strict=True)):
                if old != new:
                    matrix = frequency_matrix(old, new).to(result) * (new / old if ratio and axis else 1)
                    result = torch.tensordot(result, matrix, ([axis], [1])).movedim(-1, axis)
            rows = torch.arange(count, device=result.device).clamp(max=len(mean) - 1)
            tensors[name] = (result.reshape(count, -1) * std[rows] + mean[rows]).reshape(shape)
        return ViTWeights(spec, tensors)


def _fused_axes(spec: ViTSpec, name: str) -> list[int]:
    """How many canonical axes make each axis that FRONT's released code transforms."""
    return [2, 2] if name == "patch_embed.weight" else row_of(spec, name).groups


def _merged(shape: Sequence[int], groups: Sequence[int]) -> list[int]:
    sizes = iter(shape)
    return [math.prod(next(sizes) for _ in range(count)) for count in groups]


@lru_cache(maxsize=64)
def frequency_matrix(old: int, new: int) -> Tensor:
    """DCT-II of ``old`` numbers, cut to or padded with zeros to ``new`` frequencies, and the inverse: (new, old)."""
    from scipy.fft import dct, idct  # here, as it takes a tenth of a second that every command would wait for

    spectrum = np.zeros((new, old), dtype=np.float32)
    kept = min(old, new)
    spectrum[:kept] = dct(np.eye(old, dtype=np.float32), axis=0)[:kept]
    return torch.from_numpy(idct(spectrum, axis=0))
