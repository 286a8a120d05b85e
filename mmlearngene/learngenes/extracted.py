"""Learngenes that are taken from a trained ancestry instead of being trained in an Aux-Net."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from ..vit.weights import ViTWeights
from .attention import mean_attention_distance
from .base import Learngene
from .methods import LEARNGENES

T = TypeVar("T", bound="Extracted")


class Extracted(Learngene):
    """A learngene made of an ancestry's weights; its ``aux_spec`` is the ancestry's spec.

    A method implements :meth:`take`. Its constructor's options are then those of its extraction; a method that finds
    them by looking at the ancestry (Cluster-Learngene) overrides :meth:`extract`.
    """

    # whether extraction looks at images; what :meth:`see` finds in them is its option named ``seen``
    looks_at_images: ClassVar[bool] = False
    seen: ClassVar[str] = "distances"
    num_images: ClassVar[int] = 1000  # unless asked for

    @classmethod
    def see(cls, ancestry: ViTWeights, images: Iterable[Tensor]) -> object:
        """What extraction looks at: the mean attention distance of every head, (layers, heads).

        Args:
            ancestry: the trained ViT's weights.
            images: batches of preprocessed images (B, C, H, W), which can be gone through several times.
        """
        return mean_attention_distance(ancestry, images)

    @classmethod
    def extract(cls: type[T], ancestry: ViTWeights, **options) -> T:
        """Take the learngene out of an ancestry.

        Args:
            ancestry: the trained ViT's weights, see :func:`mmlearngene.load_ancestry`.
            **options: the method's own.
        """
        learngene = cls(aux=ancestry.spec, **options)
        learngene.take(ancestry)
        return learngene

    def take(self, ancestry: ViTWeights) -> None:
        """Fill the parameters with what the learngene keeps of an ancestry of its ``aux_spec``."""
        raise NotImplementedError

    @classmethod
    def extract_options(cls) -> list[str]:
        """Names of the options that :meth:`extract` takes for this method."""
        parameters = list(inspect.signature(cls.extract).parameters.values())[1:]  # all after the ancestry
        own = [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
        return own if len(own) == len(parameters) else [*own, *cls.options()]


def extraction_methods() -> list[str]:
    """Names of the methods that take a learngene out of an ancestry."""
    return sorted(name for name, cls in LEARNGENES.items() if issubclass(cls, Extracted))


def map_start(mixture: Tensor, linear: bool = False) -> dict[str, Tensor]:
    """A map Linear-ReLU-Linear that starts as ``x -> mixture @ x``, non-linear as soon as it trains.

    Its hidden units are the inputs and their negatives, whose ReLUs sum to the inputs again.

    Args:
        mixture: (..., outputs, inputs).
        linear: whether the map is without ReLU; half of either hidden unit then makes the input.

    Returns:
        ``0.weight`` (..., 2 inputs, inputs), ``0.bias``, ``2.weight`` (..., outputs, 2 inputs) and ``2.bias``: the
        names in an ``nn.Sequential``.
    """
    *batch, outputs, inputs = mixture.shape
    both = torch.cat([torch.eye(inputs), -torch.eye(inputs)])
    return {
        "0.weight": both.expand(*batch, 2 * inputs, inputs).clone(),
        "0.bias": torch.zeros(*batch, 2 * inputs),
        "2.weight": torch.cat([mixture, -mixture], -1) / (2 if linear else 1),
        "2.bias": torch.zeros(*batch, outputs),
    }


def mapped(tensor: Tensor, maps: Mapping[str, Tensor], name: str, linear: bool = False) -> Tensor:
    """A map of :func:`map_start`, found under ``name``, applied to whole weights: every number of them by itself.

    Args:
        tensor: (..., inputs, *shape), with as many leading axes as the map is batched over.
        maps: canonical name -> parameter.
        name: of the map.
        linear: whether the map is without ReLU.

    Returns:
        (..., outputs, *shape).
    """
    first, bias, second, bias2 = (maps[f"{name}.{part}"] for part in ("0.weight", "0.bias", "2.weight", "2.bias"))
    axis = first.ndim - 2
    hidden = first @ tensor.flatten(axis + 1) + bias[..., None]
    result = second @ (hidden if linear else hidden.relu()) + bias2[..., None]
    return result.unflatten(-1, tensor.shape[axis + 1 :])
