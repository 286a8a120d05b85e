"""What an initialisation did to every tensor, and to what the ViT computes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..utils.tables import table

STATUSES = ("inherited", "resized", "random", "skipped", "unused")


@dataclass
class LoadReport:
    """What an initialisation did, tensor by tensor.

    Attributes:
        size: the descendant, ``'h6-l12'``.
        source: method and file of the learngene.
        tensors: (name, status, number of parameters). ``inherited`` and ``resized`` (positions or patch kernel,
            resampled) were set; ``random`` keep the model's own start values, and so do ``skipped``, which the
            caller left out; ``unused`` are of the learngene and have no place in the model.
        share: share of the ViT's parameters, its classifier head left out, that were inherited or resized.
        verdict: on function: ``same computation`` as the learngene's weights were trained or extracted for, or
            ``adapted`` with what was done.
        notes: differences that are no error, such as another LayerNorm epsilon.
        started: whether it is a learngene to be trained that took the weights.
    """

    size: str
    source: str
    tensors: list[tuple[str, str, int]]
    share: float
    verdict: str = "same computation"
    notes: list[str] = field(default_factory=list)
    started: bool = False

    def count(self, status: str) -> int:
        """Number of parameters with this status."""
        return sum(numel for _, found, numel in self.tensors if found == status)

    def rows(self) -> list[tuple[str, int, int, str]]:
        """The tensors with those of all layers in one row: (name, tensors, parameters, status)."""
        merged: dict[tuple[str, str], list[int]] = {}
        for name, status, numel in self.tensors:
            merged.setdefault((re.sub(r"(layers?|blocks)\.\d+\.", r"\1.*.", name), status), []).append(numel)
        return [(name, len(numels), sum(numels), status) for (name, status), numels in merged.items()]

    def __str__(self) -> str:
        rows = [("tensor", "count", "parameters", "status")]
        rows += [(name, str(count), f"{numel:,}", status) for name, count, numel, status in self.rows()]
        counts = {status: self.count(status) for status in STATUSES}
        totals = ", ".join(f"{status} {n:,}" for status, n in counts.items() if n or status != "skipped")
        title = f"{self.size} from {self.source}: {self.share:.1%} of the backbone inherited, {self.verdict}"
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join([title, table(rows, "<>><"), f"parameters: {totals}", *notes])
