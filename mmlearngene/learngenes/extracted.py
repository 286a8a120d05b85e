"""Learngenes that are taken from a trained ancestry instead of being trained in an Aux-Net."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from ..errors import check_choice
from ..vit import ViTWeights
from . import LEARNGENES
from .base import Learngene

T = TypeVar("T", bound="Extracted")


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


def extract(method: str, ancestry: str | Path | ViTWeights, **options) -> Extracted:
    """Extract a learngene of ``method`` from an ancestry (canonical weights, a checkpoint file or a timm name).

    Raises:
        LearngeneError: unknown method, or whatever reading the ancestry or the method rejects.
    """
    methods = {name for name, cls in LEARNGENES.items() if issubclass(cls, Extracted)}
    cls = LEARNGENES[check_choice(method, methods, "extraction method")]
    source = "weights"
    if not isinstance(ancestry, ViTWeights):
        from ..ancestry import load_ancestry

        source, ancestry = str(ancestry), load_ancestry(ancestry)
    learngene = cls.extract(ancestry, **options)
    learngene.provenance.setdefault("ancestry", Path(source).name)
    return learngene
