"""The methods: one file each, with a :class:`Learngene` that knows how to ``expand``."""

from __future__ import annotations

from pathlib import Path

import torch

from .. import files
from ..errors import LearngeneError, check_choice
from .base import Learngene

LEARNGENES: dict[str, type[Learngene]] = {}


def register(cls: type[Learngene]) -> type[Learngene]:
    """Class decorator: make a method known by its ``method`` name to files, configs and the command line."""
    LEARNGENES[cls.method] = cls
    return cls


def load(path: str | Path) -> Learngene:
    """Read a learngene file into the learngene that was saved.

    Raises:
        LearngeneError: whatever :func:`mmlearngene.files.read` rejects, an unknown method, or tensors that do not
            fit the header.
    """
    tensors, header = files.read(path)
    cls = LEARNGENES[check_choice(header["method"], LEARNGENES, f"{path}: method")]
    learngene_spec, aux_spec = (cls.spec_type.parse(header[key]) for key in ("learngene_spec", "aux_spec"))
    with torch.device("meta"):  # no time spent on start values that the file replaces
        learngene = cls(learngene=learngene_spec, aux=aux_spec, **header["config"])
    try:
        learngene.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        raise LearngeneError(f"{path}: the tensors do not fit the header: {error}") from error
    learngene.requires_grad_(True)
    learngene.provenance = header["provenance"]
    learngene.classes = header["classes"]
    return learngene


from . import cluster, cluster_swin, controls, lets, peg, sws, tleg  # noqa: E402  (each registers itself)

__all__ = [
    "LEARNGENES",
    "Learngene",
    "cluster",
    "cluster_swin",
    "controls",
    "lets",
    "load",
    "peg",
    "register",
    "sws",
    "tleg",
]
