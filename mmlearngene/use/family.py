"""A family of sizes and what each one scores: the best, a table, the figure of the papers, and a page of it."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path

from jinja2 import Environment
from matplotlib.figure import Figure  # without pyplot: no window system, no global state
from matplotlib.ticker import EngFormatter, MaxNLocator

from ..io.atomic import save_bytes
from ..utils.tables import table
from .planning import Cost

# of the numbers of heads; distinct for the colour-blind (Okabe and Ito), on white and on black
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8f6fd1", "#9a8700")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 860, 460, 78, 48, 16, 30  # of the page's drawing, pixels


@dataclass(frozen=True)
class Member:
    """One size of the family.

    Attributes:
        size: ``'h6-l12'``.
        heads: attention heads, as text where they differ.
        layers: of all stages.
        params: parameters.
        macs: multiply-accumulates of an image.
        trained: whether the learngene was trained at this size.
        inherited: share of the backbone that comes from the learngene.
        untuned: the score before any tuning; None where the classifier starts fresh.
        tuned: the score after it; None where nobody tuned.
        command: what makes the size.
        int8: the score in int8; None where nobody asked.
    """

    size: str
    heads: str
    layers: int
    params: int
    macs: int
    trained: bool
    inherited: float
    untuned: float | None
    tuned: float | None
    command: str
    int8: float | None = None

    @classmethod
    def of(cls, cost: Cost, **scores) -> Member:
        """A size that was planned; ``scores`` are the other fields."""
        spec = cost.spec
        heads = [spec.num_heads] if isinstance(spec.num_heads, int) else spec.num_heads
        return cls(
            size=str(spec), heads=",".join(map(str, heads)), layers=spec.num_layers, params=cost.params,
            macs=cost.macs, trained=cost.trained, **scores,
        )  # fmt: skip

    @property
    def score(self) -> float:
        """The score that counts: after tuning, where there was some."""
        return self.untuned if self.tuned is None else self.tuned


@dataclass(frozen=True)
class Family:
    """All of them.

    Attributes:
        title: what they are.
        metric: what the scores are.
        notes: what to know of them, in sentences.
        members: the sizes, the one with the most parameters first.
    """

    title: str
    metric: str
    notes: Sequence[str]
    members: Sequence[Member]

    def best(self, params: float | None = None) -> Member:
        """The one with the highest score, of at most so many parameters; of equal ones the smallest."""
        inside = [member for member in self.members if params is None or member.params <= params]
        return max(inside, key=lambda member: (member.score, -member.params))

    def doubt(self, classes: int, images: int) -> str:
        """What chance leaves of an order by top-1 accuracy, in a sentence; empty where it leaves all of it.

        Args:
            classes: how many there are.
            images: how many were tested; an accuracy p of so many has the standard error sqrt(p (1 - p) / images).
        """
        best, chance = self.best(), 100 / classes

        def error(percent: float) -> float:
            share = min(max(percent / 100, 0.0), 1.0)
            return 100 * math.sqrt(share * (1 - share) / images)

        if best.score <= chance + 2 * error(chance):
            return (
                f"no size is better than chance: {chance:.3g} % of {classes} classes, and {best.score:.3g} % is within "
                f"twice the standard error of {images:,} images ({error(chance):.2g} points); tune longer (--epochs)"
            )
        near = [m.size for m in self.members if m is not best and best.score - m.score <= 2 * error(best.score)]
        if not near:
            return ""
        return f"as good within twice the standard error ({error(best.score):.2g} points): {', '.join(near)}"

    def front(self) -> list[Member]:
        """Those that no smaller one is as good as, the smallest first."""
        found: list[Member] = []
        for member in sorted(self.members, key=lambda member: (member.params, -member.score)):
            if not found or member.score > found[-1].score:
                found.append(member)
        return found

    @property
    def is_tuned(self) -> bool:
        """Whether there was any tuning."""
        return any(member.tuned is not None for member in self.members)


def table_of(family: Family) -> str:
    """The family as text; a star marks the sizes that no smaller one is as good as."""
    front = family.front()
    columns = ["size", "parameters", "GFLOPs", "trained", "untuned", *(["tuned"] if family.is_tuned else [])]
    in_int8 = any(member.int8 is not None for member in family.members)
    columns += [*(["int8"] if in_int8 else []), "best"]
    rows = [columns]
    for member in family.members:
        scores = [member.untuned, *([member.tuned] if family.is_tuned else []), *([member.int8] if in_int8 else [])]
        rows.append(
            [member.size, f"{member.params:,}", f"{member.macs / 1e9:.3g}", "yes" if member.trained else ""]
            + ["–" if score is None else f"{score:.2f}" for score in scores]
            + ["*" if member in front else ""]
        )
    return table(rows, "<>><" + ">" * (len(columns) - 5) + "<")


def save_family(out: Path, family: Family, described: dict, text: str) -> str:
    """Write a family's files.

    Args:
        out: the folder.
        family: what the page and the figure show.
        described: the results, as JSON.
        text: the table.

    Returns:
        What to look at, in a line.
    """
    out.mkdir(parents=True, exist_ok=True)
    page, picture, rows, results = (out / name for name in ("family.html", "family.png", "table.txt", "results.json"))
    save_bytes(results, json.dumps(described, indent=1).encode())
    save_bytes(rows, f"{text}\n".encode())
    save_bytes(page, page_of(family).encode())
    plot_family(family, picture)
    return f"see {page}, {picture}, {rows} and {results}"


def plot_family(family: Family, path: str | Path) -> Path:
    """The score against the parameters, a line for each number of heads; the best sizes are ringed."""
    figure = Figure(figsize=(9.5, 4.6), layout="constrained")
    axis = figure.subplots()
    for number, (heads, colour) in enumerate(_colours(family).items()):
        own = sorted((m.params, m.score) for m in family.members if m.heads == heads)
        marker = "osD^"[number // len(COLOURS) % 4]  # colours come again
        axis.plot(*zip(*own, strict=True), marker=marker, color=colour, label=f"{heads} heads", linewidth=1)
    front = family.front()
    axis.scatter(
        [m.params for m in front], [m.score for m in front], s=110, facecolors="none", edgecolors="0.3",
        label="no smaller one is as good", zorder=0,
    )  # fmt: skip
    best = family.best()
    left, right = axis.get_xlim()
    place = (best.params - left) / (right - left)
    side = "left" if place < 0.1 else "right" if place > 0.9 else "center"
    axis.annotate(
        f"{best.size} {best.score:.1f}", (best.params, best.score), (0, 9), textcoords="offset points", ha=side
    )
    axis.margins(y=0.12)
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.set(xlabel="parameters", ylabel=family.metric)
    axis.set_title(textwrap.fill(family.title, 80), fontsize=10)
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=110)
    return Path(path)


def page_of(family: Family) -> str:
    """One self-contained page of HTML: a drawing to point at, and a table that is there without JavaScript, too."""
    params = [member.params for member in family.members]
    scores = [member.score for member in family.members]
    x_ticks = _ticks(0, max(params))
    y_ticks = _ticks(min(scores), max(scores))

    def x(value: float) -> float:
        return round(_LEFT + (value - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        return round(_HEIGHT - _BOTTOM - (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * _plot_height(), 1)

    colours = _colours(family)
    lines = {}
    for heads in colours:
        own = sorted((m for m in family.members if m.heads == heads), key=lambda member: member.params)
        lines[heads] = " ".join(f"{x(member.params)},{y(member.score)}" for member in own)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"count": lambda value: f"{value:,}", "short": EngFormatter(sep="")}
    template = environment.from_string(resources(__package__).joinpath("family.html.j2").read_text())
    return template.render(
        family=family,
        best=family.best(),
        front=[member.size for member in family.front()],
        colours=colours,
        lines=lines,
        x=x,
        y=y,
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        box=dict(width=_WIDTH, height=_HEIGHT, left=_LEFT, right=_WIDTH - _RIGHT, top=_TOP, bottom=_HEIGHT - _BOTTOM),
    )


def _plot_height() -> int:
    return _HEIGHT - _BOTTOM - _TOP


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers that enclose a range."""
    if low == high:
        low, high = low - 1, high + 1
    return [float(tick) for tick in MaxNLocator(7).tick_values(low, high)]


def _colours(family: Family) -> dict[str, str]:
    """A colour for each number of heads, the fewest first."""
    heads = sorted({member.heads for member in family.members}, key=lambda text: (len(text), text))
    return {text: COLOURS[number % len(COLOURS)] for number, text in enumerate(heads)}
