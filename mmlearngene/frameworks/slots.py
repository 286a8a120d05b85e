"""Where a canonical tensor is in a framework: an entry of its table, and that entry bound to a ViT in a model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor

from ..vit.tensors import Row


@dataclass(frozen=True)
class Key:
    """A tensor's key in a framework.

    Attributes:
        name: the key without ``.weight`` and ``.bias``; ``{}`` stands for the layer's number, ``{stage}``, ``{block}``
            and ``{next}`` for the stage, the block in it, and the stage behind.
        lead: leading axes of length 1.
        order: the order that the canonical axes have there, where it is another.
        share: part of the first canonical axis that this key holds. Three keys may hold q, k and v of one tensor.
        stacked: the axis along which all layers stand in this one tensor.
    """

    name: str
    lead: int = 0
    order: tuple[int, ...] | None = None
    share: int = 1
    stacked: int | None = None


@dataclass(frozen=True, eq=False)
class Slot:
    """One tensor of a layout that is bound to a spec: a canonical tensor, or a share of it, and its key in a model.

    Attributes:
        name: canonical name.
        layer: number of the layer; None outside the layers.
        key: the key in the model; empty where the class has no such tensor.
        role: ``ViT`` or ``head`` (the classifier).
        entry: the table's entry.
        row: the row of the tensor table.
        shape: canonical shape of what this key holds.
        share: which entries of the canonical tensor's first axis this key holds; None for all.
        spare: leading rows of the framework's tensor that the canonical one does not have.
    """

    name: str
    layer: int | None
    key: str
    role: str
    entry: Key
    row: Row
    shape: tuple[int, ...]
    share: slice | None = None
    spare: int = 0
    order: tuple[int, ...] = field(init=False)
    merges: tuple[tuple[int, int], ...] = field(init=False)  # first and last axis of each merge, one after the other
    stored: tuple[int, ...] = field(init=False)  # shape in the framework, of one layer and without spare rows

    def __post_init__(self) -> None:
        order = self.entry.order or tuple(range(len(self.shape)))
        sides, counts = iter([self.shape[axis] for axis in order]), self.row.groups
        merged = [math.prod(islice(sides, count)) for count in counts]
        merges = tuple((axis, axis + count - 1) for axis, count in enumerate(counts) if count > 1)
        derived = dict(order=order, merges=merges, stored=(*[1] * self.entry.lead, *merged))
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def pattern(self) -> str:
        """The canonical axes and the framework's, as in einops: ``'qkv head dim width -> (qkv head dim) width'``."""
        own = list(self.row.axis_names)
        if self.share is not None:
            own[0] += f"[{self.share.start}:{self.share.stop}]"
        if self.entry.stacked is not None:
            own.insert(self.entry.stacked, "layer")
            return f"layer {' '.join(self.row.axis_names)} -> {' '.join(own)}"
        names = iter([own[axis] for axis in self.order])
        groups = [" ".join(islice(names, count)) for count in self.row.groups]
        merged = [f"({group})" if " " in group else group for group in groups]
        return f"{' '.join(self.row.axis_names)} -> {' '.join([*['1'] * self.entry.lead, *merged])}"

    def write(self, tensor: Tensor) -> Tensor:
        """A canonical tensor of one layer as the framework has it: a view wherever that can be."""
        if self.share is not None:
            tensor = tensor[self.share]
        if self.entry.order is not None:
            tensor = tensor.permute(self.order)
        for first, last in self.merges:
            tensor = tensor.flatten(first, last)
        if self.spare:
            tensor = torch.cat([tensor.new_zeros(self.spare, tensor.shape[1]), tensor])
        return tensor.reshape(*[1] * self.entry.lead, *tensor.shape) if self.entry.lead else tensor

    def read(self, tensor: Tensor) -> Tensor | None:
        """What a framework's tensor holds, in canonical form; None where it is of another shape."""
        if self.spare:
            tensor = tensor[:, self.spare :] if self.entry.lead else tensor[self.spare :]
        if self.entry.stacked is not None:
            tensor = tensor.select(self.entry.stacked, self.layer)
        if tuple(tensor.shape) != self.stored:
            return None
        tensor = tensor.reshape([self.shape[axis] for axis in self.order])
        return tensor if self.entry.order is None else tensor.permute([*map(self.order.index, range(tensor.ndim))])
