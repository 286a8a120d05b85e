"""``mmlearngene plan``: the sizes that fit a budget."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re

from ..errors import LearngeneError
from ..io.gene import bytes_of_numbers
from ..io.paths import existing
from ..learngenes.facts import describe
from ..use.planning import Cost, Storage, plan, storage, within
from ..utils.tables import table
from .arguments import expand_command, given

_FACTORS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def add_budgets(parser: argparse.ArgumentParser) -> None:
    """The flags that choose sizes, at one's own images and classes."""
    parser.add_argument(
        "--arch", "--archs", nargs="+", default=[], metavar="SIZES",
        help="the sizes to look at, with ranges, as in h6..12-l8..16 (default: all up to the Aux-Net's)",
    )  # fmt: skip
    parser.add_argument("--params", type=_count, metavar="N", help="at most so many parameters, as in 22M")
    parser.add_argument(
        "--flops", "--macs", dest="macs", type=_count, metavar="N",
        help="at most so many FLOPs of an image, as papers count them (a multiply-accumulate is one), as in 4.6G",
    )  # fmt: skip
    parser.add_argument("--img-size", type=int, metavar="N", help="image side (default: the learngene's)")
    parser.add_argument("--patch-size", type=int, metavar="N", help="patch side (default: the learngene's)")
    parser.add_argument("--num-classes", type=int, metavar="N", help="classes (default: the learngene's)")


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """The flags of what a size is measured in."""
    parser.add_argument(
        "--latency", type=_seconds, metavar="TIME", help="at most so long a batch, measured, as in 10ms"
    )
    parser.add_argument(
        "--runtime", choices=["torch", "onnxruntime", "openvino"],
        help="measure in the runtime that will run it, from an ONNX file on the CPU (default: torch)",
    )  # fmt: skip
    parser.add_argument("--dtype", choices=["fp32", "int8"], help="numbers of an ONNX runtime (default: fp32)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("gene", metavar="GENE", help="the learngene file")
    add_budgets(parser)
    add_runtime(parser)
    parser.add_argument(
        "--device", metavar="DEVICE", help="measure latency and memory there: cpu, cuda, cuda:1, ... (default: cpu)"
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="images of a measured batch (default: 1)")
    parser.add_argument("--top", type=int, default=20, metavar="N", help="how many to list, 0 for all (default: 20)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(arguments: argparse.Namespace) -> None:
    """The command."""
    asked = (arguments.latency, arguments.device, arguments.runtime, arguments.dtype)
    measure = any(each is not None for each in asked)
    if arguments.batch_size is not None and not measure:
        raise LearngeneError(
            f"--batch-size {arguments.batch_size} is of what is measured: add --latency, --device or --runtime"
        )
    arguments.batch_size = 1 if arguments.batch_size is None else arguments.batch_size
    for name, least in (("batch_size", 1), ("top", 0)):
        if (value := getattr(arguments, name)) < least:
            raise LearngeneError(f"--{name.replace('_', '-')} {value} must be {least} or more")
    device = None
    if measure:
        from ..use.latency import check_runtime, checked_device  # here, as it needs torch

        check_runtime(arguments.runtime or "torch", arguments.dtype or "fp32")
        device = checked_device(arguments.device or "cpu")
        if (arguments.runtime or "torch") != "torch" and device.type != "cpu":
            raise LearngeneError(f"--device {device} is of --runtime torch; {arguments.runtime} is measured on the CPU")
    path = existing(arguments.gene)
    learngene = describe(path)
    every = plan(learngene, arguments.arch, **given(arguments, "img_size", "patch_size", "num_classes"))
    fitting = within(every, arguments.params, arguments.macs)
    if arguments.latency is not None:
        fitting = shown = _measured(fitting, device, arguments)
    else:
        shown = fitting[: arguments.top or None]
        shown = _measured(shown, device, arguments) if measure else shown
    stored = storage(path.stat().st_size, fitting, bytes_of_numbers(path))
    if arguments.json:
        print(json.dumps(_described(arguments, every, fitting, shown, stored), indent=2))
    else:
        print(_text(arguments, every, fitting, shown, stored))


def _measured(costs: list[Cost], device, arguments: argparse.Namespace) -> list[Cost]:
    """Measured ones, the largest first, until so many are found that keep to the latency."""
    from rich.console import Console
    from rich.progress import track

    from ..use.latency import timed, too_slow

    measured, kept = [], []
    for cost in track(costs, description="measuring", console=Console(stderr=True), transient=True):
        cost = timed(cost, arguments.runtime, arguments.dtype, device, arguments.batch_size)
        measured.append(cost)
        if arguments.latency is None or cost.latency <= arguments.latency:
            kept.append(cost)
        if len(kept) == arguments.top:
            break
    if not kept:
        raise too_slow(measured, arguments.latency, f" on {device}")
    return kept


def _described(
    arguments: argparse.Namespace, every: list[Cost], fitting: list[Cost], shown: list[Cost], stored: Storage
) -> dict:
    spec = every[0].spec
    return {
        "file": arguments.gene,
        "img_size": list(spec.img_size),
        "patch_size": spec.patch_size,
        "num_classes": spec.num_classes,
        "sizes_looked_at": len(every),
        "sizes_that_fit": len(fitting),
        "sizes": [
            {
                "size": str(cost.spec),
                "params": cost.params,
                "macs": cost.macs,
                "trained": cost.trained,
                "latency": cost.latency,
                "memory": cost.memory,
                **cost.shares,
            }
            for cost in shown
        ],
        "storage": {**dataclasses.asdict(stored), "ratio": stored.ratio},
    }


def _text(
    arguments: argparse.Namespace, every: list[Cost], fitting: list[Cost], shown: list[Cost], stored: Storage
) -> str:
    spec, is_measured = shown[0].spec, shown[0].latency is not None
    rows = [["size", "parameters", "GFLOPs", "trained", *shown[0].shares, *(["ms", "MB"] if is_measured else [])]]
    for cost in shown:
        rows.append([str(cost.spec), f"{cost.params:,}", f"{cost.macs / 1e9:.3g}", "yes" if cost.trained else ""])
        rows[-1] += [f"{share:.1%}" for share in cost.shares.values()]
        if is_measured:
            rows[-1] += [f"{cost.latency * 1e3:.3g}", f"{cost.memory / 1e6:.3g}"]
    height, width = spec.img_size
    lines = [table(rows, "<>><".ljust(len(rows[0]), ">")), ""]
    lines.append(
        f"{_how_many(arguments, every, fitting, shown)}; at {height} x {width}, patch {spec.patch_size}, "
        f"{spec.num_classes} classes. FLOPs are multiply-accumulates, as in the papers"
    )
    if is_measured:
        lines.append(_how_measured(arguments))
    pays = (
        f"it pays from {stored.pays_from} size{'s' * (stored.pays_from > 1)} on"
        if stored.pays_from
        else "it does not pay for these"
    )
    lines.append(
        f"stored: the learngene {stored.learngene / 1e6:,.3g} MB, one checkpoint for each of the {len(fitting)} sizes "
        f"{stored.checkpoints / 1e6:,.4g} MB ({stored.ratio:.3g} x); {pays}"
    )
    fields = given(arguments, "img_size", "patch_size", "num_classes")
    lines.append(f"the largest: {expand_command(arguments.gene, spec, fields)}")
    return "\n".join(lines)


def _how_measured(arguments: argparse.Namespace) -> str:
    numbers = "int8" if arguments.dtype == "int8" else "float32"
    if (arguments.runtime or "torch") == "torch":
        where, memory = f"on {arguments.device or 'cpu'}", "weights and activations"
    else:
        where, memory = f"with {arguments.runtime} on the CPU", "the ONNX file"
    return f"measured: batches of {arguments.batch_size} in {numbers} {where}; MB of {memory}"


def _how_many(arguments: argparse.Namespace, every: list[Cost], fitting: list[Cost], shown: list[Cost]) -> str:
    if arguments.latency is not None:
        return f"the {len(shown)} largest of {len(every)} sizes that fit"
    hidden = f", {len(shown)} are shown" if len(shown) < len(fitting) else ""
    return f"{len(fitting)} of {len(every)} sizes fit{hidden}"


def _count(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:[,_]\d{3})*(?:\.\d*)?|\.\d+)\s*([kmgbt]?)", text.strip().lower())
    try:
        return float(match[1].replace(",", "").replace("_", "")) * _FACTORS[match[2]]
    except (TypeError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is no number such as 22M, 300k or 4.6G") from None


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)\s*(us|ms|s)", text.strip().lower())
    try:
        return float(match[1]) * _SECONDS[match[2]]
    except (TypeError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 10ms, 500us or 0.1s") from None
