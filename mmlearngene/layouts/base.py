"""A layout is a table of names; the canonical tensors only change shape by merging or splitting axes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import LearngeneError
from ..vit import BLOCK_TENSORS, ViTSpec, ViTWeights


@dataclass(frozen=True)
class Layout:
    """How one framework names the tensors of a plain ViT.

    Args:
        name: the framework.
        modules: canonical module or tensor -> the framework's, for everything but the final norm. Inside a layer the
            names are relative to ``block``.
        block: prefix of a layer, with ``{}`` for its number.
        norms: the final norm's name for each pooling order.
    """

    name: str
    modules: Mapping[str, str]
    block: str
    norms: Mapping[str, str]

    def layer_names(self, spec: ViTSpec) -> Sequence[int | str]:
        """What :attr:`block` has in the place of ``{}`` for each layer: its number."""
        return range(spec.num_layers)

    def key(self, canonical: str, pool: str, layer: int | str | None = None) -> str:
        """The framework's name of a canonical tensor, of layer ``layer`` where it belongs to one.

        Raises:
            LearngeneError: the framework's ViTs have no such tensor (maps in the attention, outside mmpretrain).
        """
        module, _, kind = canonical.rpartition(".")
        module = module or canonical
        kind = f".{kind}" if module != canonical else ""
        name = self.norms[pool] if module == "norm" else self.modules.get(module)
        if name is None:
            raise LearngeneError(f"a ViT of {self.name} has no place for {canonical!r}; only mmlearngene.PEGViT has")
        return (self.block.format(layer) if layer is not None else "") + name + kind

    def state_dict(self, weights: ViTWeights) -> dict[str, Tensor]:
        """The weights as the state dict of this framework's plain ViT (classifier head included).

        Tensors are views of the canonical ones, so gradients flow and nothing is copied.
        """
        pool = weights.spec.pool
        state = {self.key(name, pool): _merged(name, tensor) for name, tensor in weights.stem().items()}
        for layer, tensors in zip(self.layer_names(weights.spec), weights.layers(), strict=True):
            state |= {self.key(name, pool, layer): _merged(name, tensor) for name, tensor in tensors.items()}
        return state

    def from_state_dict(
        self, state: Mapping[str, Tensor], num_heads: int | Sequence[int] | None = None, **fields
    ) -> ViTWeights:
        """Read a plain ViT's state dict.

        Args:
            state: the framework's names -> tensors.
            num_heads: heads of a layer (or of each), which no tensor shows; heads of 64 when omitted.
            **fields: fields of the spec that no tensor shows (``norm_eps``, ``img_size`` of an oblong image, ``pool``).

        Raises:
            LearngeneError: tensors are missing or left over: the state dict is not a plain ViT's in this layout.
        """
        spec = self.infer_spec(state, num_heads, **fields)
        pool = spec.pool
        missing, tensors, left = [], {}, dict(state)

        def take(name: str, shape: tuple[int, ...], layer: int | str | None = None) -> Tensor | None:
            key = self.key(name, pool, layer)
            tensor = left.pop(key, None)
            if tensor is None or tensor.numel() != math.prod(shape):
                missing.append(key)
                return None
            return tensor.reshape(shape)

        for name, shape in spec.stem_shapes().items():
            tensors[name] = take(name, shape)
        for number, layer in enumerate(self.layer_names(spec)):
            for name, shape in spec.block_shapes(number).items():
                tensors.setdefault(name, []).append(take(name, shape, layer))
        if missing or left:
            kind = type(spec).__name__.removesuffix("Spec")
            raise LearngeneError(
                f"not a plain {self.name} {kind} {spec}: missing or of another shape: {_some(missing)}; "
                f"not understood: {_some(left)}"
            )
        for name in BLOCK_TENSORS:
            if len({tensor.shape for tensor in tensors[name]}) == 1:  # else the heads differ from layer to layer
                tensors[name] = torch.stack(tensors[name])
        return ViTWeights(spec, tensors)

    def infer_spec(
        self, state: Mapping[str, Tensor], num_heads: int | Sequence[int] | None = None, **fields
    ) -> ViTSpec:
        """The spec of a plain ViT from the names and shapes of its state dict; see :meth:`from_state_dict`.

        Raises:
            LearngeneError: the state dict has no patch embedding and layers under this layout's names.
        """
        patch = state.get(self.key("patch_embed.weight", "cls"))
        number = re.compile(re.escape(self.block).replace(r"\{\}", r"(\d+)"))
        layers = {int(match[1]) for key in state if (match := number.match(key))}
        if patch is None or not layers:
            raise LearngeneError(
                f"this is not a ViT in {self.name}'s layout: expected {self.key('patch_embed.weight', 'cls')!r} and "
                f"{self.block.format(0)!r}...; it starts with {_some(state)}"
            )
        for key in (self.modules["pos_embed"], self.key("fc1.weight", "cls", 0)):
            if key not in state:
                raise LearngeneError(f"not a plain {self.name} ViT: {key!r} is missing; it starts with {_some(state)}")
        width, num_layers = patch.shape[0], max(layers) + 1
        inner = [self._inner_dims(state, layer, width) for layer in range(num_layers)]
        if num_heads is None:
            num_heads = [max(1, dims // 64) for dims in inner]
        heads = [num_heads] * num_layers if isinstance(num_heads, int) else list(num_heads)
        for dims, count in zip(inner, heads, strict=True):
            if dims % count:
                near = min((h for h in range(1, dims + 1) if dims % h == 0), key=lambda h: abs(h - count))
                raise LearngeneError(f"{count} heads do not divide the width {dims}; the nearest that do are {near}")
        if len({dims // count for dims, count in zip(inner, heads, strict=True)}) > 1:
            raise LearngeneError(f"{heads} heads of layers {inner} wide are not of one width")
        has_class_token = self.modules["cls_token"] in state
        tokens = state[self.modules["pos_embed"]].shape[1] - has_class_token
        patch_size = patch.shape[-1]
        found = next((pool for pool in ("avg_norm", "norm_avg") if self.key("norm.weight", pool) in state), "avg_norm")
        head = state.get(self.key("head.weight", "cls"))
        inferred = dict(
            num_heads=heads,
            num_layers=num_layers,
            embed_dims=width,
            head_dim=inner[0] // heads[0],
            mlp_ratio=state[self.key("fc1.weight", "cls", 0)].shape[0] / width,
            patch_size=patch_size,
            img_size=math.isqrt(tokens) * patch_size,
            in_channels=patch.shape[1],
            num_classes=0 if head is None else head.shape[0],
            class_token=has_class_token,
            pool="cls" if has_class_token and found == "norm_avg" else found,
        )
        return ViTSpec(**{**inferred, **fields})

    def _inner_dims(self, state: Mapping[str, Tensor], layer: int, width: int) -> int:
        """Channels of a layer's heads together: the inputs of its projection."""
        proj = state.get(self.key("proj.weight", "cls", layer))
        return width if proj is None else proj.shape[1]


def _merged(name: str, tensor: Tensor) -> Tensor:
    """A canonical tensor in the shape that frameworks use: heads merged, tokens with a batch axis."""
    if name in ("qkv.weight", "qkv.bias"):
        return tensor.flatten(0, 2)
    if name == "proj.weight":
        return tensor.flatten(1)
    if name == "pos_embed":
        return tensor[None]
    return tensor[None, None] if name == "cls_token" else tensor


def _some(names) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") or "none"
