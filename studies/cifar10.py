"""What is a learngene worth? All ways to one's own ViT side by side, on CIFAR-10 and then on CamVid.

    python studies/cifar10.py --data ../shared/data

An ancestry h6-l8 (heads of 16, patch 8) is trained on CIFAR-10 and teaches, or gives, learngenes. Their descendants of
twelve sizes are tested as they are, tuned, and used as backbones of UperNet. ``--only`` chooses runs by their names,
as the file of the results has them: ``untuned_*``, ``own_*``, ``tuned_lets-uniform_h4-l6_*``, ``camvid_*``.

The runs are in cifar10_runs.py, what they come to is here. Tables and figures are made of the results alone
(``--report``); ``--pages`` writes the tables where a page has ``<!-- NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import ClassVar

import cifar10_runs as runs
from cifar10_runs import (
    ANCESTRY,
    EXTRACTED,
    FULL,
    OWN,
    OWN_STARTED,
    OWNS,
    PRE_FIN,
    PRETRAINED,
    QUICK,
    SCRATCH,
    TRAINED,
    Job,
    spec_of,
)
from common import Results, unpack_cifar10
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from mmlearngene.models.sizes import Step, build_sizes
from mmlearngene.registry import MODELS
from mmlearngene.utils.tables import fill, markdown

NAMES = {  # {}: for how many epochs
    OWN: "each size distilled on its own, {}",
    OWN_STARTED: "each size distilled on its own from weight selection, {}",
    PRE_FIN: "Pre-Fin: each size by labels, {}",
    SCRATCH: "scratch",
    "lets": "LeTs as in the paper, {}",
    "lets-2x": "LeTs as in the paper, {}",
    "lets-labels": "elastic LeTs, {}, half of the loss by labels",
    "lets-uniform": "elastic LeTs, {}",
    "lets-uniform-2x": "elastic LeTs, {}",
    "lets-uniform-3x": "elastic LeTs, {}",
    "lets-started": "elastic LeTs from weight selection, {}",
    "lets-started-3x": "elastic LeTs from weight selection, {}",
    "lets-principal": "elastic LeTs from the principal learngene, {}",
    "principal": "principal, nothing trained",
    "principal-bare": "principal without refit, nothing trained",
    "channels": "the ancestry's first heads and channels, nothing trained",
    "principal-elastic-half": "elastic principal learngene, {}",
    "principal-elastic": "elastic principal learngene, {}",
    "channels-elastic-half": "nested in the ancestry's channels, {}",
    "channels-elastic": "nested in the ancestry's channels, {}",
    "lets-sandwich": "elastic LeTs, {}, the largest size beside the random one",
    "lets-in-place": "the same, and the largest teaches the other by half",
    "tleg": "TLEG, {}",
    "tleg-uniform-2x": "elastic TLEG, {}",
    "sws": "SWS, {}",
    "sws-uniform-2x": "elastic SWS, {}",
    "cluster": "Cluster, eps 0.05",
    "cluster-merged": "Cluster, eps 0.4",
    "cluster-origin": "Cluster, eps 0.4, in the ancestry's order",
    "cluster-increasing": "Cluster, eps 0.4, in order of increasing distance",
    "cluster-decreasing": "Cluster, eps 0.4, in order of decreasing distance",
    "cluster-average": "Cluster, eps 0.4, averages of heads",
    "cluster-runs": "Cluster, eps 1, runs of FFNs shared",
    "cluster-runs-average": "Cluster, eps 1, averages of FFNs",
    "peg": "PEG",
    "peg-uniform": "PEG, uniform mixtures",
    "peg-heads": "PEG, heads alone",
    "peg-ffns": "PEG, FFNs alone",
    "lets-top-l1": "the same, largest norms (top-l1)",
    "lets-top-l2": "the same, top-l2",
    "lets-bottom-l1": "the same, smallest norms (bottom-l1)",
    "lets-bottom-l2": "the same, bottom-l2",
    "weight-selection": "weight selection, heads",
    "weight-selection-row": "weight selection, published rows",
    "front": "FRONT",
    "auto-learngene": "Auto-Learngene's baseline",
}
PRINCIPAL = (
    "principal", "principal-bare", "channels", "weight-selection", "principal-elastic-half", "channels-elastic-half",
    "principal-elastic", OWN_STARTED, OWN,
)  # fmt: skip
DRAWN = (
    "principal", "principal-elastic-half", OWN_STARTED, OWN, "lets-started-3x", "lets-uniform-3x", "lets-started",
    "lets-uniform", "lets",
)  # fmt: skip


@dataclass(frozen=True)
class Tables:
    """What is finished, in Markdown. Public methods that take nothing are tables, empty where nothing is finished.

    Attributes:
        study: the runs.
        seeds: how many of each are looked for.
    """

    study: runs.Study
    seeds: int

    names: ClassVar = NAMES

    def all(self) -> dict[str, str]:
        """Name -> table."""
        names = "sizes family principal transfer compared heads costs equal shares parts settings rates".split()
        return {table: getattr(self, table)() for table in names}

    # ------------------------------------------------------------------ what they are made of

    def name(self, row: str) -> str:
        """A row's name on the pages."""
        return self.names.get(row, row).format(counted(self.epochs(row)))

    def accuracy(self, row: str, seed: int = 0) -> dict[str, float]:
        """Size -> untuned top-1 in %, of the sizes that are finished."""
        found = self.study.result(runs.own_job(row, seed) if row in OWNS else Job("untuned", row, seed=seed))
        return found["accuracy"] if found else {}

    def untuned(self, row: str) -> dict[str, list[float]]:
        """Size -> untuned top-1 in % of each seed that is finished; empty where there is none."""
        found = [values for seed in range(self.seeds) if (values := self.accuracy(row, seed))]
        return {size: [values[size] for values in found] for size in found[0]} if found else {}

    def mean_untuned(self, row: str) -> dict[str, float]:
        """Size -> their mean."""
        return {size: statistics.mean(values) for size, values in self.untuned(row).items()}

    def of_seeds(self, kind: str, row: str, size: str, epochs: int = 0, share: int = 100) -> list[dict]:
        """What all seeds of a run came to, as far as they are finished."""
        found = [self.study.result(Job(kind, row, size, seed, epochs, share)) for seed in range(self.seeds)]
        return [run for run in found if run and run.get("accuracy", True)]

    def tuned(self, row: str, size: str, epochs: int, share: int = 100) -> list[float]:
        """Top-1 in % at the end of the tuning, of each seed that is finished."""
        return [run["accuracy"][-1] for run in self.of_seeds("tuned", row, size, epochs, share)]

    def epochs(self, row: str) -> int:
        """Passes over the images that a row's trainings of all sizes take; those side by side share theirs."""
        if row == PRE_FIN:
            return self.study.protocol.scratch
        return int(self.study.protocol.epochs * (row in OWNS or (row in TRAINED and TRAINED[row].factor)))

    def seconds(self, row: str, sizes: Sequence[str] | None = None) -> float | None:
        """Processor seconds of a row's trainings of all sizes, one thread, from steps measured one after another.

        Args:
            row: the row.
            sizes: those that are trained by labels, each by itself; all when omitted.
        """
        if row in EXTRACTED:
            return 0.0
        jobs = [Job("cost", OWN if row in OWNS else row)]
        if row == PRE_FIN:
            jobs = [Job("cost", size=size) for size in sizes or runs.SIZES]
        found = list(map(self.study.result, jobs))
        return sum(run["step_seconds"] for run in found) * self.study.steps * self.epochs(row) if all(found) else None

    def flops(self, row: str, sizes: Sequence[str] | None = None) -> float:
        """Floating-point operations of them: the networks, backward twice forward, and the teacher, asked once.

        The draws of sizes are a run's own. The expansion is left out: its work is a small part for batches of 128.
        """
        if row in EXTRACTED:
            return 0.0
        steps, teacher = self.study.steps * self.epochs(row), spec_of(ANCESTRY).flops
        if row in (*OWNS, PRE_FIN):
            students = sum(spec_of(size).flops for size in sizes or runs.SIZES)
        else:
            students = drawn_flops(row, steps)
        return steps * runs.BATCH * (3 * students + teacher * (row != PRE_FIN))

    def relative_cost(self, row: str) -> float:
        """FLOPs of the training of all twelve sizes, over a distillation of the largest, 6 epochs."""
        return self.flops(row) / self.flops("lets")

    # ------------------------------------------------------------------ tables

    def sizes(self) -> str:
        """Untuned, every size."""
        rows = {row: found for row in DRAWN if (found := self.untuned(row))}
        cells = [[size, *(with_spread(found[size]) for found in rows.values())] for size in runs.SIZES if rows]
        return markdown(["top-1 in %, untuned", *map(self.name, rows)], cells)

    def family(self) -> str:
        """Untuned, what a family of twelve sizes is worth and costs."""
        own, cells = self.mean_untuned(OWN), []
        for row in (*runs.ELASTIC, *OWNS):
            if not (found := self.mean_untuned(row)):
                continue
            ratios = [found[size] / own[size] for size in runs.SIZES] if own else []
            shares = [f"{min(ratios):.3f}", f"{statistics.mean(ratios):.3f}"] if ratios else ["", ""]
            seconds = self.seconds(row)
            values = min(found.values()), statistics.mean(found.values()), found[runs.SIZES[-1]]
            cells.append(
                [
                    self.name(row),
                    f"{self.relative_cost(row):.2f}",
                    "" if seconds is None else f"{seconds:,.0f}",
                    *shares,
                ]
                + [f"{value:.1f}" for value in values]
            )
        head = ["twelve sizes, untuned", "trainings of the largest size", "seconds", "least of own", "mean of own"]
        return markdown([*head, "least", "mean", "the largest"], cells)

    def principal(self) -> str:
        """Untuned, every size: principal learngenes beside their controls, and trained from there."""
        rows = {row: found for row in PRINCIPAL if (found := self.untuned(row))}
        cells = [[size, *(with_spread(found[size]) for found in rows.values())] for size in runs.SIZES if rows]
        return markdown(["top-1 in %, untuned", *map(self.name, rows)], cells)

    def transfer(self) -> str:
        """The size h4-l6 before and after tuning, and on CamVid."""
        size, cells = "h4-l6", []
        for row in (*TRAINED, *OWNS, PRE_FIN, SCRATCH, *EXTRACTED):
            tuned = [self.tuned(row, size, epochs) for epochs in (1, 5)]
            camvid = self.of_seeds("camvid", row, size)
            if not (tuned[-1] or camvid):
                continue
            untuned = self._before_tuning(row, size)
            cells.append(
                [self.name(row), "" if row == SCRATCH else shown(untuned)]
                + [with_spread(values) for values in tuned]
                + [with_spread([run[part] for run in camvid]) for part in ("val", "test")]
            )
        return markdown([f"{size} from", "untuned", "1 epoch", "5 epochs", "CamVid mIoU, validation", "test"], cells)

    def compared(self) -> str:
        """For each size: untuned, after an epoch, and how many epochs from scratch are as good as that."""
        sizes = self.study.protocol.compared
        cells = self._at_sizes((*OWNS, PRE_FIN, *TRAINED, *EXTRACTED, SCRATCH), sizes)
        ends = [[run["accuracy"][-1] for run in self.of_seeds("scratch", "", size)] for size in sizes]
        cells += [[f"scratch, {counted(self.study.protocol.scratch)}", *map(with_spread, ends)]] if any(ends) else []
        return markdown(["way", *sizes], cells)

    def heads(self) -> str:
        """Fewer heads at the ancestry's width: untuned, and after an epoch."""
        sizes = self.study.protocol.heads
        return markdown(["way", *sizes], self._at_sizes(runs.FEWER_HEADS, sizes))

    def costs(self) -> str:
        """What twelve sizes store and cost, the ancestry in it where there is one, the tuning left out."""
        cells, ancestry = [], (ANCESTRY,)
        own = PRE_FIN, "mimetic"  # which take nothing from the ancestry
        for row in (*TRAINED, OWN, PRE_FIN, *EXTRACTED):
            gene = self.study.result(Job("gene", runs.learngene_of(row)))
            stored = gene and gene["params"]
            if row in (OWN, PRE_FIN):
                stored = sum(spec_of(size).num_params for size in runs.SIZES)
            before = 0.0 if row in own else self.seconds(PRE_FIN, ancestry)
            seconds = self.seconds(row)
            if None in (stored, before, seconds):
                continue
            flops = self.flops(row) + (0 if row in own else self.flops(PRE_FIN, ancestry))
            epochs = self.epochs(row) + (0 if row in own else self.epochs(PRE_FIN))
            cells.append([self.name(row), f"{stored:,}", epochs, f"{flops / 1e15:.2f}", f"{seconds + before:,.0f}"])
        return markdown(["twelve sizes", "stored parameters", "passes over the images", "PFLOP", "seconds"], cells)

    def equal(self) -> str:
        """What about the cost of one elastic training buys: all six sizes compared, each tuned or not."""
        sizes, cells = self.study.protocol.compared, []
        bought = (runs.ABLATED, 0), ("lets-started-3x", 0), ("lets-started", 2), ("lets", 1), ("weight-selection", 3)
        for row, epochs in bought:
            untuned = self.untuned(row)
            found = [self.tuned(row, size, epochs) if epochs else untuned.get(size) for size in sizes]
            if all(found):
                tuning = epochs * self.flops(PRE_FIN) / self.study.protocol.scratch
                cost = (self.flops(row) + tuning) / self.flops("lets")
                tuned = f", tuned for {counted(epochs)} each" if epochs else ", untuned"
                cells.append([f"{self.name(row)}{tuned}", f"{cost:.2f}", *map(with_spread, found)])
        return markdown(["twelve sizes by", "trainings of the largest size", *sizes], cells)

    def shares(self) -> str:
        """The size h4-l6 tuned with a part of the training images."""
        size, epochs, cells = "h4-l6", 5, []
        for row in (SCRATCH, *runs.CLAIMED):
            values = [self.tuned(row, size, epochs, share) for share in runs.SHARES]
            if any(values):
                cells.append([self.name(row), max(map(len, values)), *map(with_spread, values)])
        return markdown([f"{size} from, {epochs} epochs", "seeds", *(f"{share} %" for share in runs.SHARES)], cells)

    def parts(self) -> str:
        """What each part that is inherited is worth."""
        size = "h4-l6"
        found = {part: self.study.result(Job("skipped", part, size, 0, 1)) for part in runs.PARTS}
        whole = self.study.result(Job("tuned", runs.ABLATED, size, 0, 1))
        cells = []
        if whole and all(found.values()):
            all_of_them = dict(untuned=self.accuracy(runs.ABLATED)[size], accuracy=whole["accuracy"])
            for part, run in [("all", all_of_them), *((f"without {part}", run) for part, run in found.items())]:
                cells.append([part, f"{run['untuned']:.1f}", f"{run['accuracy'][-1]:.1f}"])
        return markdown([f"{self.name(runs.ABLATED)}, {size}", "untuned", "1 epoch"], cells)

    def settings(self) -> str:
        """Settings of the papers' ablations, each at its size."""
        cells = []
        for size, rows in runs.SETTINGS.items():
            for row in rows:
                if tuned := self.tuned(row, size, 1):
                    cells.append([size, self.name(row), shown(self._before_tuning(row, size)), with_spread(tuned)])
        return markdown(["size", "way", "untuned", "1 epoch"], cells)

    def rates(self) -> str:
        """Whether the learning rate of a row is fair to it."""
        cells = []
        for job in runs.rates(self.study.protocol):
            if not (run := self.study.result(job)):
                continue
            used = runs.rate(job.row)
            values = {float(lr): f"{value:.1f}" for lr, value in run["accuracy"].items()}
            if used in values:
                values[used] = f"**{values[used]}**"
            what = f"{self.name(job.row)}, {job.size}, {counted(job.epochs)} by labels"
            cells.append([what, *(values[lr] for lr in runs.RATES)])
        return markdown(["learning rate, ours in bold", *(f"{lr:g}" for lr in runs.RATES)], cells)

    # ------------------------------------------------------------------ cells

    def _scratch(self, size: str) -> list[float]:
        """Accuracy after every epoch from scratch, mean of the seeds."""
        curves = [run["accuracy"] for run in self.of_seeds("scratch", "", size)]
        return [statistics.mean(values) for values in zip(*curves, strict=True)]

    def _before_tuning(self, row: str, size: str) -> float | None:
        if row == PRE_FIN:
            return next(iter(self._scratch(size)[-1:]), None)
        if found := self.study.result(Job("untuned", row, size)):
            return found["accuracy"].get(size)
        return self.mean_untuned(row).get(size)

    def _at_sizes(self, rows: Sequence[str], sizes: Sequence[str]) -> list[list[str]]:
        """Rows of :meth:`_compared`, those without any cell left out."""
        cells = [
            [f"{self.name(row)}{', 1 epoch' * (row == SCRATCH)}", *(self._compared(row, size) for size in sizes)]
            for row in rows
        ]
        return [row for row in cells if any(row[1:])]

    def _compared(self, row: str, size: str) -> str:
        tuned = self.tuned(row, size, 1)
        if not tuned:
            return ""
        untuned, scratch = self._before_tuning(row, size), self._scratch(size)
        start = "" if untuned is None else f"{shown(untuned)} → "
        after = statistics.mean(tuned)
        needed = next((epoch for epoch, value in enumerate(scratch, 1) if value >= after), f"> {len(scratch)}")
        return f"{start}{with_spread(tuned)}" + (f" ({needed})" if scratch and row not in (PRE_FIN, SCRATCH) else "")


@cache
def drawn_flops(row: str, steps: int) -> float:
    """FLOPs of a forward pass of the sizes that a learngene trains at a step, on average over the draws of a run."""
    if not (sampled := TRAINED[row].student.get("sizes")):
        return spec_of(ANCESTRY).flops
    way = TRAINED["lets" if TRAINED[row].trained else row]  # the sizes are the same, whatever expands to them
    sampler = build_sizes(sampled, MODELS.build(runs.learngene_cfg(way)))
    drawn = (sampler.draw(Step(0, step, steps)) for step in range(min(steps, 2000)))
    return statistics.mean(sum(spec.flops for spec in specs) for specs in drawn)


def counted(epochs: int) -> str:
    """In words.

    >>> counted(1), counted(6)
    ('1 epoch', '6 epochs')
    """
    return f"{epochs} epoch{'s' * (epochs != 1)}"


def shown(value: float | None) -> str:
    """With one digit; empty where there is none."""
    return "" if value is None else f"{value:.1f}"


def with_spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean and deviation, where there are several; empty where there are none."""
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def draw(tables: Tables, figures: Path) -> None:
    """The figure of the twelve sizes, as far as they are finished."""
    found = {row: values for row in DRAWN if (values := tables.mean_untuned(row))}
    if found:
        shown = {f"{tables.name(row)}: cost {tables.relative_cost(row):.1f}": values for row, values in found.items()}
        plot_family(shown, figures / "family_cifar10.png", "Twelve sizes, without any tuning")


def plot_family(rows: Mapping[str, dict[str, float]], path: Path, title: str) -> None:
    """Accuracy of every size against its parameters, a line for each way."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for (row, found), marker in zip(rows.items(), cycle("osD^vXP"), strict=False):
        points = sorted((spec_of(size).num_params, value) for size, value in found.items())
        axes.plot(*zip(*points, strict=True), marker=marker, markersize=5, linewidth=1, label=row)
    axes.set(xlabel="parameters", ylabel="top-1 on CIFAR-10 in %", title=title)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def arguments(what: str) -> argparse.ArgumentParser:
    """The command line of a study in this work dir."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of cifar10_jpeg, camvid_half")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/cifar10"), help="where everything goes")
    parser.add_argument("--results", type=Path, help="the file of the results (default: results.jsonl in the work dir)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each where there are several")
    parser.add_argument(
        "--quick", action="store_true", help="a twentieth of the images, few epochs: only to see it work"
    )
    parser.add_argument("--only", nargs="+", default=["*"], help="patterns of names of runs")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--figures", type=Path, default=Path("docs/images"), help="where figures go")
    parser.add_argument("--report", action="store_true", help="only make tables and figures of what is finished")
    parser.add_argument("--pages", nargs="+", type=Path, default=[], help="pages to write the tables to")
    return parser


def work(study: runs.Study, todo: list[Job], args: argparse.Namespace) -> None:
    """Do the runs that are asked for."""
    if args.report:
        return
    unpack_cifar10(study.data, study.root / "images")
    chosen = [job for job in todo if any(fnmatch(job.name, pattern) for pattern in args.only)]
    for job, result in study.run(chosen, args.processes):
        print(job.name, result, flush=True)


def show(tables: Mapping[str, str], pages: Sequence[Path]) -> None:
    """Print tables, and write them to pages."""
    for title, text in tables.items():
        print(f"{title}\n\n{text}\n")
    for page in pages:
        page.write_text(fill(page.read_text(), tables))


def main() -> None:
    """Run the study."""
    args = arguments(__doc__).parse_args()
    protocol = QUICK if args.quick else FULL
    study = runs.Study(args.work_dir, args.data, Results(args.results or args.work_dir / "results.jsonl"), protocol)
    work(study, runs.jobs(args.seeds, protocol), args)
    if found := study.result(PRETRAINED):
        print(f"the ancestry {ANCESTRY}: {found['accuracy'][-1]:.1f} % after {found['epochs']} epochs\n")
    tables = Tables(study, args.seeds)
    show(tables.all(), args.pages)
    draw(tables, args.figures)


if __name__ == "__main__":
    main()
