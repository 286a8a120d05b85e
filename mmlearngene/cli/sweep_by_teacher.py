"""``mmlearngene sweep --teacher``: every size of a family, ranked without labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import LearngeneError, check_choice
from ..io.paths import existing
from ..learngenes.facts import describe
from ..learngenes.facts.base import Facts
from ..use.planning import Cost, plan, within
from ..utils.tables import table
from .arguments import expand_command, given

METRICS = ("cosine", "neighbours")
_OF_LABELS = ("epochs", "lr", "batch_size", "workers", "crop_pct", "jobs", "num_classes")


def run_by_teacher(arguments: argparse.Namespace) -> None:
    """Rank every size by what it keeps of the teacher's tokens, beside its latency on this machine."""
    out, metric = arguments.output, check_choice(arguments.metric or "cosine", METRICS, "--metric of --teacher")
    for name in _OF_LABELS:
        if value := getattr(arguments, name):
            raise LearngeneError(f"--{name.replace('_', '-')} {value} is of a sweep with labels; --teacher needs none")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LearngeneError(f"{out} is not empty; expected a new folder for the ranking")
    facts = describe(existing(arguments.gene))
    fields = given(arguments, "img_size", "patch_size")
    costs = plan(facts, arguments.arch, num_classes=0, **fields)
    costs = within(costs, arguments.params, arguments.macs)
    measured = _measured(arguments, facts, costs)
    _write(arguments, sorted(measured, key=lambda pair: (-pair[1][metric], pair[0].params)), metric)


def _measured(arguments: argparse.Namespace, facts: Facts, costs: list[Cost]) -> list[tuple[Cost, dict[str, float]]]:
    """Each size that keeps to the latency, measured, and what it keeps of the teacher's tokens; the largest first.

    Raises:
        LearngeneError: the teacher cannot be read, or see :class:`~mmlearngene.use.agreement.Agreement`.
    """
    import torch
    from rich.console import Console
    from rich.progress import track

    from ..use.agreement import Agreement
    from ..use.latency import timed, too_slow
    from ..use.probes import models_of

    norm = given(arguments, "mean", "std")
    (teacher,) = models_of([arguments.teacher], [], given=norm)
    agreement = Agreement(teacher, arguments.data, **given(arguments, "num_images"))
    # a learngene that does not say how its images were normalised is shown them as the teacher is
    says = facts.provenance.get("preprocessing")
    known = {} if says else {name: list(getattr(teacher, name)) for name in ("mean", "std")}
    sizes = [str(cost.spec) for cost in costs]
    students = models_of([str(existing(arguments.gene))], sizes, arguments.img_size, given={**known, **norm})
    every, kept, console = [], [], Console(stderr=True)
    for cost, student in zip(
        costs, track(students, "comparing", len(costs), console=console, disable=not console.is_terminal), strict=True
    ):
        cost = timed(cost, arguments.runtime, arguments.dtype, torch.device("cpu"))
        every.append(cost)
        if arguments.latency is None or cost.latency <= arguments.latency:
            kept.append((cost, agreement.of(student)))
    if not kept:
        raise too_slow(every, arguments.latency)
    return kept


def _write(arguments: argparse.Namespace, found: list[tuple[Cost, dict[str, float]]], metric: str) -> None:
    """Write and print the ranking."""
    from ..use.family import Family, Member, save_family

    fields = given(arguments, "img_size", "patch_size")
    members = [
        Member.of(
            cost, inherited=1.0, untuned=kept[metric], tuned=None,
            command=expand_command(arguments.gene, cost.spec, fields),
        )
        for cost, kept in sorted(found, key=lambda pair: -pair[0].params)
    ]  # fmt: skip
    words = {"cosine": "cosine to the teacher's tokens, %", "neighbours": "nearest images kept, %"}[metric]
    name = f"{Path(arguments.gene).name.partition('.')[0]} by the tokens of {Path(arguments.teacher).name}"
    family = Family(f"{len(found)} sizes of {name} on {Path(arguments.data).name}", words, [], members)
    best = family.best()
    columns = [["size", "parameters", "GFLOPs", "ms", "MB", "cosine", "neighbours"]]
    for cost, kept in found:
        columns.append([str(cost.spec), f"{cost.params:,}", f"{cost.macs / 1e9:.3g}", f"{1e3 * cost.latency:.3g}"])
        columns[-1] += [f"{cost.memory / 1e6:.3g}", *(f"{kept[each]:.2f}" for each in METRICS)]
    text = table(columns, "<>>>>>>")
    sizes = [
        dict(size=str(cost.spec), params=cost.params, macs=cost.macs, trained=cost.trained, **kept,
             latency=cost.latency, memory=cost.memory)
        for cost, kept in found
    ]  # fmt: skip
    told = {
        "learngene": arguments.gene, "data": arguments.data, "teacher": arguments.teacher, "metric": metric,
        "best": best.size, "front": [member.size for member in family.front()], "sizes": sizes,
    }  # fmt: skip
    where = save_family(arguments.output, family, told, text)
    print(text)
    print(
        "cosine: of patch tokens to the teacher's, behind the linear layer that fits them best on other images; "
        f"neighbours: nearest images kept, both in float32. ms and MB of one image with {arguments.runtime or 'torch'} "
        f"in {arguments.dtype or 'fp32'} on the CPU"
    )
    print(f"the best: {best.size} with {best.score:.2f} ({words}), {best.params:,} parameters")
    print(best.command)
    print(where)
