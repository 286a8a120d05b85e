"""Reading a learngene file into the learngene that was saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from ..errors import LearngeneError
from ..frameworks.base import some
from ..io.gene import Header, read
from ..utils.typed import check_types
from ..vit.spec import ViTSpec
from .base import Learngene
from .methods import find_method
from .origin import how_to_get


def load(path: str | Path) -> Learngene:
    """Read a learngene file into the learngene that was saved.

    Raises:
        LearngeneError: whatever :func:`mmlearngene.io.read` rejects, an unknown method, or tensors that do not
            fit the header.
    """
    made: list[Learngene] = []
    tensors, header = read(path, lambda header, shapes: made.append(_empty(path, header, shapes)))
    (learngene,) = made
    learngene.load_state_dict(tensors, strict=True, assign=True)
    learngene.requires_grad_(True)
    learngene.provenance = header.provenance
    learngene.classes = header.classes
    return learngene


def _empty(path: str | Path, header: Header, shapes: Mapping[str, tuple[int, ...]]) -> Learngene:
    """The learngene of a header, without storage, if tensors of these shapes are its."""
    try:
        cls = find_method(header.method, f"{path}: method")
    except LearngeneError as error:
        raise LearngeneError(f"{error} To read the file, {how_to_get(header.provenance)}") from error
    learngene_spec, aux_spec = (ViTSpec.parse(fields) for fields in (header.learngene_spec, header.aux_spec))
    try:
        check_types(cls, header.config)
        with torch.device("meta"):  # no time spent on start values that the file replaces
            learngene = cls(learngene=learngene_spec, aux=aux_spec, **header.config)
    except (TypeError, ValueError) as error:  # options that the method does not take, or not of this kind
        raise LearngeneError(f"{path}: the header does not fit the method {header.method}: {error}") from error
    expected = {name: tuple(tensor.shape) for name, tensor in learngene.state_dict().items()}
    if wrong := _unlike(expected, shapes):
        raise LearngeneError(f"{path}: the tensors do not fit the header: {some(wrong)}")
    return learngene


def _unlike(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> list[str]:
    """In words, the tensors that are missing, not expected, or of another shape than expected."""
    return [
        f"{name} is {found.get(name, 'missing')}, not {expected.get(name, 'expected')}"
        for name in dict.fromkeys([*expected, *found])
        if expected.get(name) != found.get(name)
    ]
