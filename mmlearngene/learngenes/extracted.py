"""Learngenes that are taken from a trained ancestry instead of being trained in an Aux-Net."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from ..errors import LearngeneError, check_choice
from ..vit import ViTSpec, ViTWeights, spread
from . import LEARNGENES
from .base import Learngene

T = TypeVar("T", bound="Extracted")
DEPTHS = ("first", "uniform")
FFN = ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
KEPT = ("norm1.weight", "norm1.bias", "proj.bias", "norm2.weight", "norm2.bias")  # a layer's tensors that stay its own


class Extracted(Learngene):
    """A learngene made of an ancestry's weights; its ``aux_spec`` is the ancestry's spec."""

    @classmethod
    def extract(cls: type[T], ancestry: ViTWeights, **options) -> T:
        """Take the learngene out of an ancestry.

        Args:
            ancestry: the trained ViT's weights, see :func:`mmlearngene.ancestry.load_ancestry`.
            **options: the method's own.
        """
        raise NotImplementedError

    @classmethod
    def extract_options(cls) -> list[str]:
        """Names of the options that :meth:`extract` takes for this method."""
        parameters = list(inspect.signature(cls.extract).parameters.values())[1:]  # all after the ancestry
        return [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]


def extraction_methods() -> list[str]:
    """Names of the methods that :func:`extract` knows."""
    return sorted(name for name, cls in LEARNGENES.items() if issubclass(cls, Extracted))


def extract(method: str, ancestry: str | Path | ViTWeights, *, num_heads: int | None = None, **options) -> Extracted:
    """Extract a learngene of ``method`` from an ancestry (canonical weights, a checkpoint file or a timm name).

    Args:
        method: the method's name.
        ancestry: canonical weights, or what :func:`mmlearngene.ancestry.load_ancestry` reads.
        num_heads: heads of a layer, for a checkpoint whose heads are not 64 wide.
        **options: the method's own, see its ``extract``.

    Raises:
        LearngeneError: unknown method or option, or whatever reading the ancestry or the method rejects.
    """
    cls = LEARNGENES[check_choice(method, extraction_methods(), "extraction method")]
    known = cls.extract_options()
    for name in options:
        if name not in known:
            takes = ", ".join(known) or "none"
            raise LearngeneError(f"{method} has no extraction option {name!r}; it takes: {takes}")
    source = "weights"
    if not isinstance(ancestry, ViTWeights):
        from ..ancestry import load_ancestry

        source, ancestry = str(ancestry), load_ancestry(ancestry, num_heads)
        if "preprocessing" in known:
            from ..attention_distance import timm_preprocessing

            options["preprocessing"] = {**timm_preprocessing(source), **(options.get("preprocessing") or {})}
    if not isinstance(ancestry.spec, cls.spec_type):
        takes, found = (kind.__name__.removesuffix("Spec") for kind in (cls.spec_type, type(ancestry.spec)))
        others = [m for m in extraction_methods() if isinstance(ancestry.spec, LEARNGENES[m].spec_type)]
        raise LearngeneError(
            f"{method} takes a {takes} as ancestry, and {source} is a {found}, {ancestry.spec}; methods for it: "
            f"{', '.join(others)}"
        )
    learngene = cls.extract(ancestry, **options)
    learngene.provenance.setdefault("ancestry", Path(source).name)
    return learngene


def ordinary(ancestry: str | ViTSpec | Mapping) -> ViTSpec:
    """The spec of an ancestry, whose layers must be equal and as wide as its residual stream.

    Raises:
        LearngeneError: they are not.
    """
    spec = ViTSpec.parse(ancestry)
    if not spec.is_ordinary:
        raise LearngeneError(
            f"the ancestry {spec} has heads that are together not {spec.embed_dims} wide in every layer; expected an "
            f"ordinary ViT, the nearest is h{spec.embed_dims // spec.head_dim}-l{spec.num_layers}"
        )
    return spec


def stacked_layers(weights: ViTWeights) -> dict[str, Tensor]:
    """The tensors of all layers, stacked, also where layers share them."""
    layers = weights.layers()
    return {name: torch.stack([layer[name] for layer in layers]) for name in layers[0]}


def chosen_layers(depth: str, num_layers: int, num_sources: int) -> list[int]:
    """The ancestry layer of each layer of a descendant: the ``first`` ones, or ``uniform`` ones.

    Raises:
        LearngeneError: unknown choice, or the first layers of fewer.
    """
    if check_choice(depth, DEPTHS, "depth") == "uniform":
        return spread(num_layers, num_sources)
    if num_layers > num_sources:
        raise LearngeneError(
            f"depth='first' gives at most the ancestry's {num_sources} layers, not {num_layers}; the nearest choice is "
            "depth='uniform', which repeats layers"
        )
    return list(range(num_layers))


def map_start(mixture: Tensor) -> dict[str, Tensor]:
    """A map Linear-ReLU-Linear that starts as ``x -> mixture @ x``, non-linear as soon as it trains.

    Its hidden units are the inputs and their negatives, whose ReLUs sum to the inputs again.

    Args:
        mixture: (..., outputs, inputs).

    Returns:
        ``0.weight`` (..., 2 inputs, inputs), ``0.bias``, ``2.weight`` (..., outputs, 2 inputs) and ``2.bias``: the
        names in an ``nn.Sequential``.
    """
    *batch, outputs, inputs = mixture.shape
    both = torch.cat([torch.eye(inputs), -torch.eye(inputs)])
    return {
        "0.weight": both.expand(*batch, 2 * inputs, inputs).clone(),
        "0.bias": torch.zeros(*batch, 2 * inputs),
        "2.weight": torch.cat([mixture, -mixture], -1),
        "2.bias": torch.zeros(*batch, outputs),
    }


def mapped(tensor: Tensor, maps: Mapping[str, Tensor], name: str) -> Tensor:
    """A map of :func:`map_start`, found under ``name``, applied to whole weights: every number of them by itself.

    Args:
        tensor: (..., inputs, *shape), with as many leading axes as the map is batched over.
        maps: canonical name -> parameter.
        name: of the map.

    Returns:
        (..., outputs, *shape).
    """
    first, bias, second, bias2 = (maps[f"{name}.{part}"] for part in ("0.weight", "0.bias", "2.weight", "2.bias"))
    axis = first.ndim - 2
    hidden = (first @ tensor.flatten(axis + 1) + bias[..., None]).relu()
    result = second @ hidden + bias2[..., None]
    return result.unflatten(-1, tensor.shape[axis + 1 :])
