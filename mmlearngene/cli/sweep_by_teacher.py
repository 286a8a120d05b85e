"""``mmlearngene sweep --teacher``: every size of a family, ranked without labels."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..errors import LearngeneError, check_choice
from ..io.atomic import save_bytes
from ..io.paths import existing
from ..learngenes.facts import describe
from ..use.planning import Cost, plan, within
from ..utils.tables import table
from .arguments import expand_command, given

METRICS = ("cosine", "neighbours")
_OF_LABELS = ("epochs", "lr", "batch_size", "workers", "crop_pct", "jobs", "num_classes")
_FILES = ("results.json", "table.txt", "family.png", "family.html")


def run_by_teacher(arguments: argparse.Namespace) -> None:
    """Rank every size by what it keeps of the teacher's tokens, beside its latency on this machine."""
    out, metric = arguments.output, check_choice(arguments.metric or "cosine", METRICS, "--metric of --teacher")
    for name in _OF_LABELS:
        if value := getattr(arguments, name):
            raise LearngeneError(f"--{name.replace('_', '-')} {value} is of a sweep with labels; --teacher needs none")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LearngeneError(f"{out} is not empty; expected a new folder for the ranking")
    path = existing(arguments.gene)
    fields = given(arguments, "img_size", "patch_size")
    costs = plan(describe(path), arguments.arch, num_classes=0, **fields)
    costs = within(costs, arguments.params, arguments.macs)
    measured = _measured(arguments, str(path), costs)
    order = sorted(measured, key=lambda row: (-row[metric], row["params"]))
    _write(arguments, order, metric)


def _measured(arguments: argparse.Namespace, gene: str, costs: list[Cost]) -> list[dict]:
    """Agreement, latency and memory of each size, the largest first.

    Raises:
        LearngeneError: the teacher cannot be read, or see :class:`~mmlearngene.use.agreement.Agreement`.
    """
    import torch
    from rich.console import Console
    from rich.progress import track

    from ..use.agreement import Agreement
    from ..use.latency import timed
    from ..use.probes import models_of

    norm = given(arguments, "mean", "std")
    (teacher,) = models_of([arguments.teacher], [], given=norm)
    agreement = Agreement(teacher, arguments.data, **given(arguments, "num_images"))
    # a learngene that does not say how its images were normalised is shown them as the teacher is
    known = {name: list(getattr(teacher, name)) for name in ("mean", "std")} if not _says_normalisation(gene) else {}
    sizes = [str(cost.spec) for cost in costs]
    students = models_of([gene], sizes, arguments.img_size, given={**known, **norm})
    rows, console = [], Console(stderr=True)
    for cost, student in zip(
        costs, track(students, "comparing", len(costs), console=console, disable=not console.is_terminal), strict=True
    ):
        cost = timed(cost, arguments.runtime, arguments.dtype, torch.device("cpu"))
        if arguments.latency is not None and cost.latency > arguments.latency:
            continue
        kept = agreement.of(student)
        facts = dict(size=str(cost.spec), params=cost.params, macs=cost.macs, trained=cost.trained)
        rows.append({**facts, **kept, "latency": cost.latency, "memory": cost.memory})
    if not rows:
        raise LearngeneError(f"none of {len(costs)} sizes keeps to {arguments.latency * 1e3:.3g} ms")
    return rows


def _says_normalisation(gene: str) -> bool:
    return bool(describe(gene).provenance.get("preprocessing"))


def _write(arguments: argparse.Namespace, rows: list[dict], metric: str) -> None:
    """Write and print the ranking."""
    from ..use.family import Family, Member, page_of, plot_family

    fields = given(arguments, "img_size", "patch_size")
    members = []
    for row in sorted(rows, key=lambda row: -row["params"]):
        heads, _, layers = row["size"].partition("-l")
        command = expand_command(arguments.gene, row["size"], fields)
        members.append(
            Member(
                row["size"], heads.removeprefix("h"), int(layers.split("-")[0]), row["params"], row["macs"],
                row["trained"], 1.0, row[metric], None, command,
            )
        )  # fmt: skip
    words = {"cosine": "cosine to the teacher's tokens, %", "neighbours": "nearest images kept, %"}[metric]
    name = f"{Path(arguments.gene).name.partition('.')[0]} by the tokens of {Path(arguments.teacher).name}"
    family = Family(f"{len(rows)} sizes of {name} on {Path(arguments.data).name}", words, [], members)
    best, out = family.best(), arguments.output
    columns = [["size", "parameters", "GFLOPs", "ms", "MB", "cosine", "neighbours"]]
    for row in rows:
        columns.append([row["size"], f"{row['params']:,}", f"{row['macs'] / 1e9:.3g}", f"{1e3 * row['latency']:.3g}"])
        columns[-1] += [f"{row['memory'] / 1e6:.3g}", *(f"{row[each]:.2f}" for each in METRICS)]
    text = table(columns, "<>>>>>>")
    told = {
        "learngene": arguments.gene, "data": arguments.data, "teacher": arguments.teacher, "metric": metric,
        "best": best.size, "front": [member.size for member in family.front()], "sizes": rows,
    }  # fmt: skip
    contents = (json.dumps(told, indent=1), f"{text}\n")
    out.mkdir(parents=True, exist_ok=True)
    for file, content in zip(_FILES, contents, strict=False):
        save_bytes(out / file, content.encode())
    plot_family(family, out / "family.png")
    save_bytes(out / "family.html", page_of(family).encode())
    print(text)
    print(
        "cosine: of patch tokens to the teacher's, behind the linear layer that fits them best on other images; "
        f"neighbours: nearest images kept, both in float32. ms and MB of one image with {arguments.runtime or 'torch'} "
        f"in {arguments.dtype or 'fp32'} on the CPU"
    )
    print(f"the best: {best.size} with {best.score:.2f} ({words}), {best.params:,} parameters")
    print(best.command)
    print(f"see {out / 'family.html'}, {out / 'family.png'}, {out / 'table.txt'} and {out / 'results.json'}")
