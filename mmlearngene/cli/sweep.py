"""``mmlearngene sweep``: every size of a family, evaluated."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import io
import json
import math
import shutil
import sys
from pathlib import Path

from ..errors import LearngeneError
from ..io.atomic import save_bytes
from ..io.paths import existing
from ..learngenes import Learngene, load
from ..use.planning import Cost, plan, within
from .arguments import expand_command, given
from .plan import add_budgets, add_runtime

_SETTINGS, _CONFIG = "settings.json", "config.py"
_RANGES = (("epochs", 0, 10**5), ("jobs", 1, 1024), ("batch_size", 1, 2**17), ("workers", 0, 1024))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("gene", metavar="GENE", help="the learngene file")
    parser.add_argument(
        "--data", required=True, metavar="FOLDER_OR_CONFIG",
        help="images in FOLDER/train and FOLDER/val, or in FOLDER, a folder for each class; or a config of mmpretrain; "
        "with --teacher any images without labels",
    )  # fmt: skip
    parser.add_argument(
        "--teacher", metavar="CKPT_OR_FOLDER_OR_NAME",
        help="rank the sizes without labels, by what they keep of this model's tokens; the ancestry, usually",
    )  # fmt: skip
    parser.add_argument("--images", dest="num_images", type=int, metavar="N", help="of --teacher (default: 256)")
    add_budgets(parser)
    add_runtime(parser)
    parser.add_argument("--epochs", type=int, default=0, metavar="N", help="tune each size so long, too (default: 0)")
    parser.add_argument("--lr", type=float, metavar="X", help="learning rate on a folder (default: 1e-4)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images of a batch, of a folder (default: 64)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that load images of a folder (default: 2)")
    parser.add_argument("--mean", type=float, nargs="+", metavar="X", help="of images in [0, 1] (default: ImageNet's)")
    parser.add_argument("--std", type=float, nargs="+", metavar="X", help="of images in [0, 1] (default: ImageNet's)")
    parser.add_argument("--crop-pct", type=float, metavar="X", help="share of an image that is tested (default: 0.875)")
    parser.add_argument("--metric", metavar="NAME", help="the score to choose by (default: accuracy/top1)")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="sizes at a time (default: one a GPU, and one without a GPU)"
    )
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="DIR",
        help="results; a sweep that was stopped goes on there",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    """The command."""
    _check_numbers(arguments)
    if arguments.runtime or arguments.dtype or arguments.latency:
        from ..use.latency import check_runtime

        check_runtime(arguments.runtime or "torch", arguments.dtype or "fp32")
    if arguments.teacher:
        from .sweep_by_teacher import run_by_teacher

        return run_by_teacher(arguments)
    if arguments.num_images is not None:
        raise LearngeneError(f"--images {arguments.num_images} is of --teacher; without one all test images are seen")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # mmpretrain prints what it does without
            import mmpretrain.datasets  # noqa: F401

            from ..engine.run import sweep
            from ..engine.run.work_dir import hold
    except ImportError as error:
        raise LearngeneError(
            f"a sweep needs OpenMMLab: pip install mmlearngene[mm] ({error.__cause__ or error})"
        ) from error
    out, path = arguments.output, existing(arguments.gene)
    if out.exists() and not out.is_dir():
        raise LearngeneError(f"{out} is a file; expected a folder for the results")
    learngene = load(path)
    is_new = not out.exists()
    hold(out, "-o")
    try:
        settings = _checked_settings(arguments, path)
        costs, notes, classes, images = _prepare(arguments, sweep, learngene)
    except BaseException:
        if is_new:
            shutil.rmtree(out, ignore_errors=True)
        raise
    save_bytes(out / _SETTINGS, json.dumps(settings, indent=1).encode())
    try:
        results, failed = _run_all(arguments, sweep, costs, path)
    except KeyboardInterrupt:
        print(f"what is finished is kept in {out}; the same command goes on with the others", file=sys.stderr)
        raise
    if not results:
        raise LearngeneError(f"no size could be run; {costs[0].spec}: {next(iter(failed.values()))}")
    _show(arguments, learngene, [cost for cost in costs if str(cost.spec) in results], results, notes, classes, images)
    for size, error in failed.items():
        print(f"{size} failed: {error}", file=sys.stderr)


def _check_numbers(arguments: argparse.Namespace) -> None:
    for name, least, most in _RANGES:
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise LearngeneError(f"--{name.replace('_', '-')} {value} must be {least} or more")
        if value is not None and value > most:
            raise LearngeneError(f"--{name.replace('_', '-')} {value} must be {most} or less")
    if arguments.lr is not None and not 0 <= arguments.lr < math.inf:
        raise LearngeneError(f"--lr {arguments.lr} must be a finite number of 0 or more; the usual value is 1e-4")
    for name in ("mean", "std"):
        values = getattr(arguments, name) or []
        if not all(math.isfinite(value) and (name == "mean" or value > 0) for value in values):
            more = " above 0" if name == "std" else ""
            raise LearngeneError(f"--{name} {' '.join(map(str, values))}: expected finite numbers{more}")
    if arguments.crop_pct is not None and not 0.1 <= arguments.crop_pct <= 1:
        raise LearngeneError(f"--crop-pct {arguments.crop_pct} must be 0.1 or more and at most 1")


def _fields(arguments: argparse.Namespace, classes: list[str]) -> dict:
    return {**given(arguments, "img_size", "patch_size"), "num_classes": len(classes)}


def _check_classes(arguments: argparse.Namespace, classes: int, own: int) -> None:
    if arguments.num_classes not in (None, classes):
        raise LearngeneError(f"--num-classes {arguments.num_classes}, but {arguments.data} has {classes} classes")
    if classes != own and not arguments.epochs:
        raise LearngeneError(
            f"{arguments.data} has {classes} classes and the learngene {own or 'no classifier'}: an untuned head would "
            "guess; expected --epochs 1 or more"
        )


def _checked_settings(arguments: argparse.Namespace, gene: Path) -> dict:
    """What results depend on.

    Raises:
        LearngeneError: the folder has results of other settings, which are not to be mixed.
    """
    out, data = arguments.output, Path(arguments.data).expanduser()
    names = ("epochs", "img_size", "patch_size", "lr", "batch_size", "mean", "std", "crop_pct", "dtype")
    settings = {
        "learngene": hashlib.sha256(gene.read_bytes()).hexdigest(),
        "data": str(data.resolve()),
        **{name: getattr(arguments, name) for name in names},
    }
    file = out / _SETTINGS
    before = json.loads(file.read_text()) if file.is_file() else settings
    if different := [name for name in settings if before.get(name) != settings[name]]:
        raise LearngeneError(
            f"{out} has the results of a sweep with another {' and '.join(different)}; expected a folder for each"
        )
    return settings


def _prepare(
    arguments: argparse.Namespace, sweep, learngene: Learngene
) -> tuple[list[Cost], list[str], list[str], int]:
    """Look at everything and write the config that all sizes share: sizes, what to say, classes, number of images."""
    out, data, notes = arguments.output, Path(arguments.data).expanduser(), []
    costs = plan(learngene, arguments.arch, **given(arguments, "img_size", "patch_size"))
    spec = costs[0].spec
    if data.is_dir():
        images = sweep.ImageSettings(**given(arguments, "mean", "std", "crop_pct"))
        tuning = sweep.Tuning(epochs=arguments.epochs, **given(arguments, "lr", "batch_size", "workers"))
        config, notes = sweep.folder_config(data, out, learngene, spec, tuning, images)
    else:
        if wrong := given(arguments, "lr", "batch_size", "workers", "mean", "std", "crop_pct"):
            raise LearngeneError(f"--{next(iter(wrong)).replace('_', '-')} is for a folder; {data} says it itself")
        config = sweep.taken_config(data, arguments.epochs)
    classes, images = sweep.check_images(config, spec, data)
    notes.append(f"{images:,} test images: one of them is {100 / images:.2g} points of accuracy")
    own = learngene.aux_spec.num_classes
    _check_classes(arguments, len(classes), own)
    if arguments.epochs:
        notes.append(sweep.tuning_of(config, arguments.epochs))
    if len(classes) != own:
        notes.append("the classifiers start fresh: there is no score before tuning")
    costs = plan(learngene, [str(cost.spec) for cost in costs], **_fields(arguments, classes))
    costs = _in_time(within(costs, arguments.params, arguments.macs), arguments)
    if arguments.dtype == "int8":
        config.int8 = True
        notes.append("int8: by onnxruntime, with the ranges of the first 64 test images; the best is chosen in float32")
    _keep_config(out, config.pretty_text, data)
    return costs, notes, classes, images


def _in_time(costs: list[Cost], arguments: argparse.Namespace) -> list[Cost]:
    """The sizes whose measured latency keeps to ``--latency``, one image at a time; all without it.

    Raises:
        LearngeneError: none does; names the fastest.
    """
    if arguments.latency is None:
        return costs
    import torch

    from ..use.latency import timed, too_slow

    measured = [timed(cost, arguments.runtime, arguments.dtype, torch.device("cpu")) for cost in costs]
    kept = [cost for cost in measured if cost.latency <= arguments.latency]
    if not kept:
        raise too_slow(measured, arguments.latency)
    return kept


def _keep_config(out: Path, text: str, data: Path) -> None:
    """Write the config that all sizes share.

    Raises:
        LearngeneError: the folder has results of another, as where the user's config was changed.
    """
    file = out / _CONFIG
    if file.is_file() and file.read_text() != text and any((out / "sizes").glob("*.json")):
        raise LearngeneError(
            f"{out} has the results of a sweep with what {data} said before it was changed; expected a folder for each"
        )
    save_bytes(file, text.encode())


def _run_all(arguments: argparse.Namespace, sweep, costs: list[Cost], gene: Path) -> tuple[dict, dict]:
    """Run what is not there yet; results and errors by size."""
    import torch
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    out, results, failed = arguments.output, {}, {}
    for cost in costs:
        file = sweep.size_file(out, cost.spec)
        if file.is_file():
            results[str(cost.spec)] = json.loads(file.read_text())
    todo = [cost.spec for cost in costs if str(cost.spec) not in results]
    console = Console(stderr=True)
    if results:
        console.print(f"{len(results)} of {len(costs)} sizes are in {out} already")
    if not todo:
        return results, failed
    jobs = arguments.jobs or max(1, torch.cuda.device_count())
    if not console.is_terminal:  # where no bar moves
        console.print(f"{len(todo)} size{'s' * (len(todo) > 1)} to run, {min(jobs, len(todo))} at a time")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("sizes", total=len(costs), completed=len(results))
        shares = dict.fromkeys(results, 1.0)
        for spec, result in sweep.run_sizes(todo, out / _CONFIG, gene, arguments.epochs, out, jobs):
            shares[str(spec)] = max(shares.get(str(spec), 0), result) if isinstance(result, float) else 1.0
            progress.update(task, completed=sum(shares.values()))
            if isinstance(result, float):
                continue
            if isinstance(result, Exception):
                failed[str(spec)] = str(result).splitlines()[0] if str(result) else type(result).__name__
            else:
                results[str(spec)] = result
                last = result["tuned"] or result["untuned"]
                progress.console.print(f"{spec}: {_score(last, arguments.metric):.2f}")
    return results, failed


def _score(metrics: dict[str, float], name: str | None) -> float:
    name = name or ("accuracy/top1" if "accuracy/top1" in metrics else next(iter(metrics)))
    if name not in metrics:
        raise LearngeneError(f"--metric {name} was not measured; expected one of {', '.join(metrics)}")
    return metrics[name]


def _show(
    arguments, learngene, costs: list[Cost], results: dict, notes: list[str], classes: list[str], images: int
) -> None:
    """Write and print all that the results come to."""
    from ..use.family import Family, Member, save_family, table_of

    metric = arguments.metric
    fields = _fields(arguments, classes)
    members = [
        Member.of(cost, **_scores(results[str(cost.spec)], metric, expand_command(arguments.gene, cost.spec, fields)))
        for cost in costs
    ]
    measured = next(iter(results.values()))
    named = metric or ("accuracy/top1" if "accuracy/top1" in (measured["tuned"] or measured["untuned"]) else "score")
    words = "top-1 accuracy in %" if named == "accuracy/top1" else named
    when = f"after {arguments.epochs} epoch{'s' * (arguments.epochs > 1)}" if arguments.epochs else "without any tuning"
    name = f"{learngene.method} learngene {Path(arguments.gene).name.partition('.')[0]}"
    title = f"{len(members)} size{'s' * (len(members) > 1)} of the {name} on {Path(arguments.data).name}, {when}"
    family = Family(title, words, notes, members)
    best = family.best()
    described = {
        "learngene": arguments.gene,
        "data": arguments.data,
        "classes": classes,
        "epochs": arguments.epochs,
        "metric": named,
        "notes": notes,
        "best": best.size,
        "front": [member.size for member in family.front()],
        "sizes": [dataclasses.asdict(member) | {"metrics": results[member.size]} for member in members],
    }
    text = table_of(family)
    where = save_family(arguments.output, family, described, text)
    print(text)
    for note in notes:
        print(note)
    budget = [f"{arguments.params:,.0f} parameters"] if arguments.params else []
    budget += [f"{arguments.macs / 1e9:.3g} GFLOPs"] if arguments.macs else []
    print(
        f"the best{' within ' + ' and '.join(budget) if budget else ''}: {best.size} with {best.score:.2f} "
        f"({words}), {best.params:,} parameters"
    )
    if named == "accuracy/top1" and (doubt := family.doubt(len(classes), images)):
        print(doubt)
    if equal := [member.size for member in members if member.score == best.score and member is not best]:
        print(f"as good, and larger: {', '.join(equal)}")
    print(best.command)
    print(where)


def _scores(result: dict, metric: str | None, command: str) -> dict:
    """What a :class:`~mmlearngene.use.family.Member` scored; ``command`` writes the size untuned."""
    tuned = result["tuned"] and _score(result["tuned"], metric)
    return dict(
        inherited=result["inherited"],
        untuned=result["untuned"] and _score(result["untuned"], metric),
        tuned=tuned,
        command=command if tuned is None else result["open"],
        int8=result.get("int8") and _score(result["int8"], metric),
    )
