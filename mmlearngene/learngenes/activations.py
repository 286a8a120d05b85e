"""What happens inside a ViT while it sees images: second moments at its norms, and its layers run one by one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import LearngeneError
from ..frameworks import built_anywhere, find_vit
from ..vit.tensors import rows
from ..vit.weights import ViTWeights
from .attention import at_size_of

# what writes to the stream -> what reads it in front, and behind which norm
_BRANCHES = {"proj": ("qkv", "norm1"), "fc2": ("fc1", "norm2")}
_SCALES = {"proj": "ls1.gamma", "fc2": "ls2.gamma"}


class _Reached(Exception):
    """Ends a forward pass where all that was wanted of it, its argument, is known."""


def _input_of(module: nn.Module, run, *args, **kwargs) -> Tensor:
    """What enters ``module`` while ``run`` is called; nothing behind it is computed."""

    def stop(_, inputs: tuple) -> None:
        raise _Reached(inputs[0])

    handle = module.register_forward_pre_hook(stop)
    try:
        run(*args, **kwargs)
    except _Reached as reached:
        return reached.args[0]
    finally:
        handle.remove()
    raise LearngeneError(f"{type(module).__name__} is not called as a module, so that nothing is known of its input")


class LiveViT:
    """A ViT of canonical weights as a live model, in parts that can be run on a residual stream.

    Args:
        weights: complete weights of a ViT whose norms stand before attention and MLP.

    Attributes:
        spec: its spec.

    Raises:
        LearngeneError: no framework that is installed has the features.
    """

    def __init__(self, weights: ViTWeights) -> None:
        self.spec = weights.spec
        self._scales = [{n: layer[n] for n in _SCALES.values() if n in layer} for layer in weights.layers()]
        self.model = built_anywhere(weights).to(next(iter(weights.stem().values())))  # its type and device
        self._found = find_vit(self.model)
        self._extra: dict[str, tuple] = {}

    @property
    def like(self) -> Tensor:
        """A tensor of its type and device."""
        return next(self.model.parameters())

    def module(self, name: str, layer: int | None = None) -> nn.Module:
        """The module that holds a canonical tensor."""
        return self._found.module.get_submodule(self._path(name, layer))

    def _path(self, name: str, layer: int | None) -> str:
        key, _ = self._found.layout.places(name, self.spec, layer)[0]
        return key.rpartition(".")[0]

    def _around(self, name: str, other: str, layer: int) -> str:
        """The path of the smallest module that holds two tensors of a layer."""
        return ".".join(os.path.commonprefix([self._path(of, layer).split(".") for of in (name, other)]))

    @torch.no_grad()
    def stream(self, images: Tensor) -> Tensor:
        """The residual stream (B, tokens, width) before the first layer."""
        if not self._extra:
            self._learn_calls(images[:1].to(self.like))
        return _input_of(self.module("norm1.weight", 0), self.model, images.to(self.like))

    @torch.no_grad()
    def written(self, writer: str, layer: int, stream: Tensor) -> Tensor:
        """What a layer's ``proj`` or ``fc2`` writes to the stream is made of: its input (B, tokens, features).

        Args:
            writer: ``proj``, whose input is what the heads give, or ``fc2``, whose input are the hidden activations.
            layer: number of the layer.
            stream: the residual stream in front of attention or MLP, (B, tokens, width).
        """
        reader, norm = _BRANCHES[writer]
        path = self._around(f"{reader}.weight", f"{writer}.weight", layer)
        args, kwargs = self._extra[path]
        branch, normed = self._found.module.get_submodule(path), self.module(f"{norm}.weight", layer)(stream)
        return _input_of(self.module(f"{writer}.weight", layer), branch, normed, *args, **kwargs)

    @torch.no_grad()
    def behind(self, writer: str, layer: int, stream: Tensor, written: Tensor | None = None) -> Tensor:
        """The stream behind a layer's attention (``proj``) or MLP (``fc2``): see :meth:`written`, if known."""
        written = self.written(writer, layer, stream) if written is None else written
        added = self.module(f"{writer}.weight", layer)(written)
        return stream + added * self._scales[layer].get(_SCALES[writer], 1)

    def _learn_calls(self, images: Tensor) -> None:
        """See what attentions and MLPs are called with beside the stream: rotary positions, masks."""
        handles = []
        for layer in range(self.spec.num_layers):
            for writer, (reader, _) in _BRANCHES.items():
                path = self._around(f"{reader}.weight", f"{writer}.weight", layer)

                def see(_, args: tuple, kwargs: dict, path: str = path) -> None:
                    self._extra[path] = args[1:], kwargs

                branch = self._found.module.get_submodule(path)
                handles.append(branch.register_forward_pre_hook(see, with_kwargs=True))
        self.model(images)
        for handle in handles:
            handle.remove()


# ---------------------------------------------------------------------- second moments


@dataclass
class Moments:
    """Second moments of what a ViT computes, over the tokens of images.

    Attributes:
        norms: of what enters a norm, every token divided by its root mean square, without its mean where the norm is a
            LayerNorm: ``norm1`` and ``norm2`` (layers, width, width), ``norm`` and ``attn_pool.norm`` (width, width).
        heads: of what leaves the heads, without the mean over tokens: (layers, inner, inner).
        hidden: variance of every hidden neuron's activation: (layers, hidden).
        pool_heads: as ``heads``, of the attention pooling; None without one.
        pool_hidden: as ``hidden``, likewise.
        images: how many were seen.
        tokens: how many these had in all.
    """

    norms: dict[str, Tensor]
    heads: Tensor
    hidden: Tensor
    pool_heads: Tensor | None = None
    pool_hidden: Tensor | None = None
    images: int = 0
    tokens: int = 0


@dataclass
class _Sum:
    """A running sum over tokens: of values, of their squares, or of their products."""

    products: bool
    count: int = 0
    first: Tensor | float = 0.0
    second: Tensor | float = 0.0

    def add(self, values: Tensor) -> None:
        values = values.detach().flatten(0, -2)
        self.count += len(values)
        self.first = self.first + values.sum(0)
        self.second = self.second + (values.mT @ values if self.products else values.square().sum(0))

    def centred(self) -> Tensor:
        mean, second = self.first / self.count, self.second / self.count
        return second - (torch.outer(mean, mean) if self.products else mean.square())

    def raw(self) -> Tensor:
        return self.second / self.count


@torch.no_grad()
def moments(weights: ViTWeights, batches: Iterable[Tensor]) -> Moments:
    """Second moments of a ViT's norms, heads and hidden neurons over images; no activation is kept.

    Args:
        weights: a trained ViT.
        batches: preprocessed images, each (B, C, H, W).

    Raises:
        LearngeneError: there are no images, or what the ViT computes of them is not finite.
    """
    weights, batches = at_size_of(batches, weights)
    live, spec = LiveViT(weights), weights.spec
    sums: dict[tuple[str, int | None], _Sum] = {}
    handles = []

    def watch(name: str, layer: int | None, products: bool, prepare=lambda values: values) -> None:
        found = sums[name, layer] = _Sum(products)
        hook = lambda _, inputs: found.add(prepare(inputs[0]))  # noqa: E731
        handles.append(live.module(name, layer).register_forward_pre_hook(hook))

    def normalised(values: Tensor) -> Tensor:
        if spec.norm == "layernorm":
            values = values - values.mean(-1, keepdim=True)
        return values / values.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-12)

    for layer in range(spec.num_layers):
        watch("norm1.weight", layer, True, normalised)
        watch("proj.weight", layer, True)
        watch("norm2.weight", layer, True, normalised)
        watch("fc2.weight", layer, False)
    outside = {row.name for row in rows(spec, "stem")}
    for name, products, prepare in (
        ("norm.weight", True, normalised),
        ("attn_pool.proj.weight", True, lambda values: values),
        ("attn_pool.norm.weight", True, normalised),
        ("attn_pool.fc2.weight", False, lambda values: values),
    ):
        if name in outside:
            watch(name, None, products, prepare)
    images = 0
    for batch in batches:
        live.model(batch.to(live.like))
        images += len(batch)
    for handle in handles:
        handle.remove()
    if silent := [name for (name, _), found in sums.items() if not found.count]:
        raise LearngeneError(f"nothing is known of what enters {silent[0].removesuffix('.weight')}")

    def stacked(name: str, of: str) -> Tensor:
        return torch.stack([getattr(sums[name, layer], of)() for layer in range(spec.num_layers)])

    def alone(name: str, of: str) -> Tensor | None:
        return getattr(sums[name, None], of)() if (name, None) in sums else None

    norms = {name: stacked(f"{name}.weight", "raw") for name in ("norm1", "norm2")}
    once = {name: alone(f"{name}.weight", "raw") for name in ("norm", "attn_pool.norm")}
    norms |= {name: found for name, found in once.items() if found is not None}
    result = Moments(
        norms,
        stacked("proj.weight", "centred"),
        stacked("fc2.weight", "centred"),
        alone("attn_pool.proj.weight", "centred"),
        alone("attn_pool.fc2.weight", "centred"),
        images,
        sums["norm1.weight", 0].count,
    )
    for name, value in (*norms.items(), ("proj", result.heads), ("fc2", result.hidden)):
        if not value.isfinite().all():
            raise LearngeneError(f"what enters {name} is not finite for these images; are they normalised?")
    return result
