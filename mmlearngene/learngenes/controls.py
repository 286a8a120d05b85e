"""Controls: what a learngene has to beat. The same interface, so that one word in a command or config swaps them.

Each is extracted from an ancestry: ``extract('first-k', ancestry)``. Sources and options: ``docs/controls.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from timm.layers import build_sincos2d_pos_embed
from torch import Tensor

from ..errors import LearngeneError, check_choice
from ..utils.typed import Seed
from ..vit.spec import ViTSpec
from ..vit.tensors import LAYER_TENSORS, row_of
from ..vit.weights import ViTWeights, spread
from .base import StackedLearngene, derived_spec, unequal_layers
from .extracted import Extracted, chosen_layers, tensors_of
from .methods import register

Size = str | ViTSpec | Mapping
UNITS = ("head", "row")  # of weight selection


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


class WholeAncestry(AncestryLayers):
    """A control that keeps the whole ancestry and takes from it what a descendant's size asks for.

    Args:
        learngene: its size, the ancestry's.
        aux: size of the ancestry.
        **vit: fields of :class:`ViTSpec`.
    """

    def __init__(self, learngene: Size | None = None, aux: Size = "h6-l12", **vit) -> None:
        spec = ViTSpec.parse(aux, **vit)
        super().__init__(spec, spec.num_layers, learngene)


@register
class PreFin(WholeAncestry):
    """Pre-training and fine-tuning: the ancestry's weights in a ViT of the very same size.

    With fewer heads, in every layer or as a schedule, it has the ancestry's first ones and keeps its width: the control
    "Pre-Fin" of Cluster-Learngene with as many heads as the descendant.
    """

    method = "pre-fin"
    keeps_width = True

    def head_range(self, stage: int = 0) -> range:
        """Up to the ancestry's heads."""
        return range(1, self.aux_spec.num_heads + 1)

    def layer_range(self, stage: int = 0) -> range:
        """The ancestry's depth."""
        return range(self.aux_spec.num_layers, self.aux_spec.num_layers + 1)

    def _expand(self, spec: ViTSpec) -> ViTWeights:
        tensors = self.learngene.tensors()
        for name, axis in tensors_of(self.aux_spec, "head").items():
            pairs = zip(tensors[name], spec.heads, strict=True)
            tensors[name] = [row.narrow(axis, 0, min(heads, row.shape[axis])) for row, heads in pairs]
        return ViTWeights(spec, tensors)


@register
class FirstK(WholeAncestry):
    """The first layers of the ancestry, as many as the descendant has."""

    method = "first-k"

    def layer_range(self, stage: int = 0) -> range:
        """Up to the ancestry's depth."""
        return range(1, self.aux_spec.num_layers + 1)

    def _layer_map(self, num_layers: int) -> Sequence[int]:
        return range(num_layers)


@register
class UniformK(WholeAncestry):
    """Evenly spaced layers of the ancestry, first and last included; a deeper descendant repeats them in place."""

    method = "uniform-k"

    def _layer_map(self, num_layers: int) -> Sequence[int]:
        return spread(num_layers, self.aux_spec.num_layers)


@register
class WeightSelection(WholeAncestry):
    """Weight selection: evenly spaced channels of the ancestry's layers (Xu et al., ICLR 2024).

    Along every axis of every tensor on which the descendant is smaller, its entries are evenly spaced ones of the
    ancestry. An axis has the same meaning, so the same selection, in every tensor: channels stay consistent through the
    network. Heads are such an axis here, so whole heads are selected, the same in q, k, v and proj (``unit='head'``).
    The published code selects rows of the fused qkv matrix (``unit='row'``).
    """

    method = "weight-selection"
    equal_layers = True

    def head_range(self, stage: int = 0) -> range:
        """Up to the ancestry's heads."""
        return range(1, self.aux_spec.num_heads + 1)

    def layer_range(self, stage: int = 0) -> range:
        """Up to the ancestry's depth."""
        return range(1, self.aux_spec.num_layers + 1)

    def _expand(self, spec: ViTSpec, *, depth: str = "first", unit: str = "head") -> ViTWeights:
        """Select.

        Args:
            depth: ``first``: the ancestry's first layers, the paper's choice for ViTs; ``uniform``: evenly spaced.
            unit: what is selected of q, k, v and into proj: whole heads (``head``), or single rows of the fused
                matrices as in the published code (``row``), which puts rows of several heads into one.
        """
        check_choice(unit, UNITS, "unit")
        if spec.embed_dims > self.aux_spec.embed_dims:
            raise LearngeneError(
                f"weight-selection makes a ViT narrower: embed_dims={spec.embed_dims} is more than the ancestry's "
                f"{self.aux_spec.embed_dims}"
            )
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


@register
class FRONT(WholeAncestry):
    """FRONT: the low frequencies of the ancestry's tensors (Shen et al., ICML 2026), without its training.

    Each tensor is z-scored, and tensors of a layer are stacked along depth. An unnormalised DCT-II along every axis and
    along depth, of which the lowest frequencies are kept or zeros appended, and the inverse at the descendant's size
    give a tensor whose layer i gets the mean and deviation of the ancestry's layer i back, or of its last one. As both
    transforms are linear, a change of size is one matrix an axis, see :func:`frequency_matrix`.
    """

    method = "front"
    equal_layers = True

    def head_range(self, stage: int = 0) -> range:
        """Any number, but a range must end."""
        return range(1, 65)

    def _expand(self, spec: ViTSpec, *, heads: str = "fused", ratio: bool = False) -> ViTWeights:
        """Change the size of every tensor in the frequency domain.

        Args:
            heads: ``fused``: axes are those of timm's tensors, as in the released code: q, k, v and all their heads are
                one axis, and so are the channels of the patch kernel; ``apart``: heads are an axis of their own, so
                that a new head is a mixture of whole heads, and q, k and v stay apart.
            ratio: multiply by the new size of each such axis over the old one, so that amplitudes stay what they were
                (``use_ratio`` of the released code).
        """
        fused = check_choice(heads, ("fused", "apart"), "heads") == "fused"
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


class SomeLayers(AncestryLayers):
    """A control that keeps a few layers of the ancestry; the descendant's other layers start at random.

    Args:
        learngene: its size, which follows from the ancestry's and ``layers``.
        aux: size of the ancestry.
        layers: layers kept; ``default_layers``, or all of a shallower ancestry, when omitted.
        **vit: fields of :class:`ViTSpec`.

    Raises:
        LearngeneError: the ancestry has fewer layers.
    """

    default_layers: ClassVar[int]
    min_inherited = 0.0

    def __init__(self, learngene: Size | None = None, aux: Size = "h6-l12", layers: int | None = None, **vit) -> None:
        spec = ViTSpec.parse(aux, **vit)
        layers = min(self.default_layers, spec.num_layers) if layers is None else layers
        if not 1 <= layers <= spec.num_layers:
            near = min(max(layers, 1), spec.num_layers)
            raise LearngeneError(f"layers={layers}: the ancestry {spec} has {spec.num_layers}; the nearest is {near}")
        super().__init__(spec, layers, learngene)
        self.config["layers"] = layers

    @property
    def layers(self) -> int:
        """Layers kept."""
        return self.learngene_spec.num_layers


@register
class Heuristic(SomeLayers):
    """Heuristic-Learngene: the ancestry's last layers, at the descendant's end (Wang et al., AAAI 2022)."""

    method = "heuristic"
    default_layers = 3

    def _kept(self, layers: range) -> Sequence[int]:
        return layers[-self.layers :]

    def _layer_map(self, num_layers: int) -> Sequence[int | None]:
        kept = range(self.layers)[-num_layers:]
        return [None] * (num_layers - len(kept)) + list(kept)


@register
class AutoLearngene(SomeLayers):
    """Auto-Learngene: the ancestry's first layers, at the descendant's beginning (Wang et al., 2023)."""

    method = "auto-learngene"
    default_layers = 6

    def _kept(self, layers: range) -> Sequence[int]:
        return layers[: self.layers]

    def _layer_map(self, num_layers: int) -> Sequence[int | None]:
        kept = range(self.layers)[:num_layers]
        return list(kept) + [None] * (num_layers - len(kept))


@register
class Scratch(Extracted):
    """Nothing is inherited: every tensor keeps the model's own start values.

    Args:
        learngene: a size, the ancestry's.
        aux: size of the ancestry, which gives what a descendant's size leaves open.
        **vit: fields of :class:`ViTSpec`.
    """

    method = "scratch"
    min_inherited = 0.0

    def __init__(self, learngene: Size | None = None, aux: Size = "h6-l12", **vit) -> None:
        spec = ViTSpec.parse(aux, **vit)
        super().__init__(derived_spec(self.method, learngene, spec), spec)

    def take(self, ancestry: ViTWeights) -> None:
        """Nothing but the size."""

    def head_range(self, stage: int = 0) -> range:
        """Any number, but a range must end."""
        return range(1, 65)

    def _expand(self, spec: ViTSpec) -> ViTWeights:
        return ViTWeights(spec, {})


@register
class Mimetic(Scratch):
    """Mimetic initialisation: attention that looks trained, made of random numbers (Trockman & Kolter, ICML 2023).

    With Z normal of variance 1 / embed_dims, drawn anew for every product, acting on row vectors x:

    * in each head ``W_q W_k^T`` is the best approximation of rank head_dim to ``0.7 Z + 0.7 I``;
    * in each layer ``W_v W_proj``, all heads together, is ``0.4 Z - 0.4 I``;
    * learned positions are 2-D sines and cosines, 0 for class and register tokens.

    Both products are factored by singular value decomposition, half of the singular values in either factor. All else,
    biases included, keeps the model's own start values. Nothing comes from the ancestry but its size.

    Args:
        learngene: a size, the ancestry's.
        aux: size of the ancestry.
        seed: of the random numbers; the same seed gives the same weights.
        **vit: fields of :class:`ViTSpec`.
    """

    method = "mimetic"
    equal_layers = True

    @classmethod
    def refuses(cls, spec: ViTSpec) -> str | None:
        """Stages and unequal layers."""
        return unequal_layers(spec)

    def __init__(self, learngene: Size | None = None, aux: Size = "h6-l12", seed: Seed = 0, **vit) -> None:
        super().__init__(learngene, aux, **vit)

    def _expand(self, spec: ViTSpec) -> ViTWeights:
        width, inner = spec.embed_dims, spec.inner_dims
        if width % 4 or inner > width:
            raise LearngeneError(
                f"mimetic needs embed_dims divisible by 4 and at least the {inner} channels of all heads, not {width}"
            )
        generator = torch.Generator().manual_seed(self.config["seed"])
        qkv, proj = [], []
        for _ in range(spec.num_layers):
            heads = [_factored(0.7, 0.7, width, spec.head_dim, generator) for _ in range(spec.num_heads)]
            value, out = _factored(0.4, -0.4, width, inner, generator)
            value = value.view(spec.num_heads, spec.head_dim, width)
            qkv.append(torch.stack([torch.stack([q for q, _ in heads]), torch.stack([k for _, k in heads]), value]))
            proj.append(out.T.view(width, spec.num_heads, spec.head_dim))
        tensors = {"qkv.weight": qkv, "proj.weight": proj}
        if spec.pos_embed == "learn":
            positions = build_sincos2d_pos_embed(list(spec.grid), dim=width)
            tensors["pos_embed"] = torch.cat([positions.new_zeros(spec.prefix_positions, width), positions])
        return ViTWeights(spec, tensors)


def _factored(alpha: float, beta: float, width: int, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two factors A, B of shape (rank, width) with ``A^T B`` near ``alpha Z + beta I``."""
    noise = torch.randn(width, width, generator=generator) / width**0.5
    left, values, right = torch.linalg.svd(alpha * noise + beta * torch.eye(width))
    root = values[:rank, None].sqrt()
    return root * left.T[:rank], root * right[:rank]
