"""The facts of this package's methods: what a file describes and the sizes that it expands to, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...errors import LearngeneError
from ...io.gene import Header, described
from ...utils.typed import check_types
from .base import Facts
from .cluster import ClusterFacts
from .controls import (
    AutoLearngeneFacts,
    FirstKFacts,
    FRONTFacts,
    HeuristicFacts,
    MimeticFacts,
    PreFinFacts,
    ScratchFacts,
    UniformKFacts,
    WeightSelectionFacts,
)
from .lets import LeTsFacts
from .peg import PEGFacts
from .principal import PrincipalFacts
from .stacked import SWSFacts, TLEGFacts

FACTS: dict[str, type[Facts]] = {
    cls.method: cls
    for cls in (
        AutoLearngeneFacts,
        ClusterFacts,
        FirstKFacts,
        FRONTFacts,
        HeuristicFacts,
        LeTsFacts,
        MimeticFacts,
        PEGFacts,
        PreFinFacts,
        PrincipalFacts,
        ScratchFacts,
        SWSFacts,
        TLEGFacts,
        UniformKFacts,
        WeightSelectionFacts,
    )
}


def describe(path: str | Path) -> Facts:
    """The facts of a learngene file, checked as :func:`mmlearngene.load` checks it.

    Without torch, as long as the file is of this package's method and format and sound; everything else is left to
    :func:`mmlearngene.load`, which says what is wrong.

    Raises:
        LearngeneError: see :func:`mmlearngene.load`.
    """
    facts = described(path, _facts)
    if facts is None:
        from .. import load

        return load(path)
    facts.source = Path(path)
    return facts


def _facts(header: Header, shapes: Mapping[str, tuple[int, ...]]) -> Facts | None:
    """The facts of a header; None where there is something wrong with it."""
    cls = FACTS.get(header.method)
    if cls is None:
        return None
    try:
        check_types(cls, header.config)
        facts = cls(learngene=header.learngene_spec, aux=header.aux_spec, **header.config)
    except (TypeError, LearngeneError):
        return None
    facts.provenance, facts.classes = header.provenance, header.classes
    return facts if facts.tensor_shapes() == dict(shapes) else None
