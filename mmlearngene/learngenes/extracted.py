"""Learngenes that are taken from a trained ancestry instead of being trained in an Aux-Net."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TypeVar

from ..errors import LearngeneError, check_choice
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
    learngene = cls.extract(ancestry, **options)
    learngene.provenance.setdefault("ancestry", Path(source).name)
    return learngene
