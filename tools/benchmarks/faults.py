"""What a kill costs: runs that are killed at random points and resumed, against one that was left alone.

    python tools/benchmarks/faults.py --kills 20 --out faults.json

Each run is the demo's, cut to seconds, and goes through tools/train.py. It gets one SIGKILL, all its processes at once,
and then `--resume`. Every file that it leaves at its end must hold, bit for bit, what the undisturbed run's holds:
weights, optimizer, schedule and the learngenes. The kinds of runs:

    stage 1        a learngene in its Aux-Net, with drop-path and mixup
    export         the same, killed while a checkpoint, `last_checkpoint` or a learngene is being written
    elastic        several sizes a step, the largest teaches in place, drop-path, a teacher cache that every other run
                   begins and the others replay
    workers        the same with two data workers
    processes      the same in two processes that meet through gloo
    dense          four losses of tokens, standardised, with mixup and resolutions
    segmentation   UperNet on a descendant, iterations, two data workers that flip and rotate
    sweep          `mmlearngene sweep` that tunes three sizes, and then the same command again; its tuned weights and
                   its scores are compared

All but the second are killed at any time: every fifth run before its first checkpoint or size, the others after it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import runpy
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config

import mmlearngene.datasets
import mmlearngene.engine
import mmlearngene.models  # noqa: F401  (imported once, here: every run is a fork of this process)
from mmlearngene import cli
from mmlearngene.io.paths import SUFFIX
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.registry import MODELS
from mmlearngene.utils.tables import table

ROOT = Path(__file__).resolve().parents[2]
KINDS = {  # and their configs
    "stage 1": "distillation", "export": "distillation", "elastic": "elastic", "workers": "workers",
    "processes": "elastic", "dense": "dense", "segmentation": "segmentation", "sweep": "sweep",
}  # fmt: skip
PATIENCE = 600  # seconds; a run takes a few where the machine has nothing else to do
STAGE_1 = """
_base_ = "{demo}/aux_lets.py"
model = dict(
    teacher=dict(checkpoint="{teacher}"),
    student=dict(backbone=dict(drop_path_rate=0.2)),
    train_cfg=dict(augments=dict(type="Mixup", alpha=0.8)),
)
train_dataloader = dict(dataset=dict(indices=192))
val_dataloader = dict(dataset=dict(indices=32))
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=1, save_best="auto"))
train_cfg = dict(max_epochs=8, val_interval=2)
log_level = "ERROR"
"""
ELASTIC = """
_base_ = "{demo}/aux_lets.py"
sizes = dict(type="mmlearngene.SandwichSizes", heads=[3, 6], layers=[4, 8])
model = dict(
    teacher=dict(
        _delete_=True,
        type="mmlearngene.CachedTeacher",
        folder="{folder}/cache",
        steps=5,
        teacher=dict(type="mmlearngene.ClassifierTeacher", config="{demo}/ancestry.py", checkpoint="{teacher}"),
    ),
    student=dict(
        backbone=dict(drop_path_rate=0.2), sizes=sizes, scale_drop_path=True,
        in_place=dict(share=0.5, reduction="batchmean"),
    ),
    train_cfg=dict(augments=dict(type="Mixup", alpha=0.8)),
)
train_dataloader = dict(dataset=dict(indices=192))
val_dataloader = dict(dataset=dict(indices=32))
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=1, save_best="auto"))
train_cfg = dict(max_epochs=6, val_interval=2)
log_level = "ERROR"
"""
WORKERS = """
_base_ = "elastic_config.py"
train_dataloader = dict(num_workers=2, persistent_workers=True)
"""
DENSE = """
_base_ = "{demo}/aux_lets.py"
sizes = dict(type="mmlearngene.UniformSizes", heads=[3, 6], layers=[4, 8])
model = dict(
    teacher=dict(checkpoint="{teacher}"),
    distill=None,
    student=dict(backbone=dict(drop_path_rate=0.2), sizes=sizes),
    features=[
        dict(type="ProteusLoss"), dict(type="RadioLoss"), dict(type="SimilarityLoss", queue_size=64),
        dict(type="LogitsLoss"),
    ],
    standardise=True,
    mixup=True,
    resolutions=[6, 8, 10],
)
train_dataloader = dict(dataset=dict(indices=192))
val_cfg = None
val_dataloader = None
val_evaluator = None
custom_hooks = [dict(type="mmlearngene.LearngeneExportHook")]
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=1))
train_cfg = dict(max_epochs=6)
log_level = "ERROR"
"""
SEGMENTATION = """
_base_ = "{demo}/seg_h4_l6.py"
pipeline = [
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomRotate", prob=0.5, degree=20),
    dict(type="PackSegInputs"),
]
model = dict(init_cfg=None)
train_dataloader = dict(
    batch_size=8, num_workers=2, persistent_workers=True, dataset=dict(num_images=64, pipeline=pipeline)
)
val_dataloader = dict(dataset=dict(num_images=8))
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=1, save_best="mIoU"))
train_cfg = dict(max_iters=60, val_interval=20)
log_level = "ERROR"
"""


SWEEP = """
_base_ = "{demo}/des_h4_l6.py"
train_dataloader = dict(dataset=dict(indices=128))
val_dataloader = dict(dataset=dict(indices=32))
"""


class Run:
    """Runs of one kind.

    Args:
        kind: one of ``KINDS``.
        config: the file that says what is run; for a sweep, what it is tuned on.
        gene: the learngene of a sweep.
    """

    def __init__(self, kind: str, config: Path, gene: Path) -> None:
        self.kind, self.config, self.gene = kind, config, gene
        self.processes = 2 if kind == "processes" else 1

    def start(self, work_dir: Path, resume: bool = False) -> int:
        """Start one in a process group of its own; the id of its first process, which ends with the others."""
        child = os.fork()
        if child:
            return child
        status = 1
        try:
            os.setsid()
            work_dir.parent.mkdir(parents=True, exist_ok=True)
            log = os.open(f"{work_dir}.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
            os.dup2(log, 1)
            os.dup2(log, 2)
            torch.set_num_threads(1)
            other = self._meet() if self.processes == 2 else None
            status = self._main(work_dir, resume)
            if other:
                status = status or os.waitstatus_to_exitcode(os.waitpid(other, 0)[1])
        except BaseException:  # a fork must not go on with its parent's work
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(status)

    @staticmethod
    def _meet() -> int | None:
        """Become two processes, as torchrun would start them; the id of the other one, None in that one."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        other = os.fork()
        rank = "0" if other else "1"
        os.environ |= dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, WORLD_SIZE="2", RANK=rank, LOCAL_RANK=rank)
        return other or None

    def _main(self, work_dir: Path, resume: bool) -> int:
        """Run the tool; its status."""
        if self.kind == "sweep":  # which goes on of its own accord
            options = ["--arch", "h4-l4..6", "--epochs", "2", "-o", str(work_dir)]
            return cli.main(["sweep", str(self.gene), "--data", str(self.config), *options])
        options = ["--launcher", "pytorch"] if self.processes == 2 else []
        options += ["--resume"] if resume else []
        sys.argv = ["tools/train.py", str(self.config), "--work-dir", str(work_dir), *options]
        try:
            runpy.run_path(str(ROOT / "tools" / "train.py"), run_name="__main__")
        except SystemExit as end:
            return end.code or 0
        return 0


def finish(process: int, work_dir: Path) -> None:
    """Wait for a run; one that fails ends the benchmark with its log."""
    _, status = os.waitpid(process, 0)
    if status:
        raise SystemExit(f"a run failed, status {os.waitstatus_to_exitcode(status)}:\n{log_of(work_dir)[-3000:]}")


def log_of(work_dir: Path) -> str:
    """What a run has printed."""
    return Path(f"{work_dir}.log").read_text()


def ended(process: int) -> bool:
    """Whether a run is over; it stays to be waited for."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def kill(process: int, work_dir: Path, when: Callable[[float], bool]) -> float | None:
    """SIGKILL a run with its workers as soon as ``when(seconds)`` is true; seconds, or None if it was over before."""
    begin = time.monotonic()
    while not ended(process) and not when(time.monotonic() - begin):
        if time.monotonic() - begin > PATIENCE:
            raise SystemExit(f"a run takes longer than {PATIENCE} seconds:\n{log_of(work_dir)[-3000:]}")
        time.sleep(0.0005)
    if ended(process):
        finish(process, work_dir)
        return None
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return time.monotonic() - begin


def kept(work_dir: Path) -> list[str]:
    """What a run that was killed can go on with: its latest checkpoint, or the sizes that a sweep has finished."""
    last = work_dir / "last_checkpoint"
    if last.exists():
        return [Path(last.read_text()).name]
    return sorted(path.stem for path in (work_dir / "sizes").glob("*.json"))


def digests(work_dir: Path) -> dict[str, str]:
    """Name and digest of all that a run leaves; of a checkpoint what training goes on with."""
    found = {}
    for path in sorted((work_dir / "sizes").glob("*.json")):
        scores = {name: json.loads(path.read_text())[name] for name in ("untuned", "tuned", "inherited")}
        weights = (work_dir / "weights" / path.name).with_suffix(".safetensors")
        found[path.stem] = _text(scores) + hashlib.sha256(weights.read_bytes()).hexdigest()
    if found:
        return found
    for path in sorted([*work_dir.glob("*.pth"), *work_dir.glob(f"*{SUFFIX}"), *work_dir.glob(".*.tmp")]):
        content = path.read_bytes()
        if path.suffix == ".pth":
            saved = torch.load(path, weights_only=False)
            parts = {key: saved.get(key) for key in ("state_dict", "optimizer", "param_schedulers")}
            content = _text(parts).encode()
        found[path.name] = hashlib.sha256(content).hexdigest()
    (found["last_checkpoint"],) = kept(work_dir)
    return found


def _text(node: object) -> str:
    """A text that is equal for equal values, tensors by their bytes."""
    if isinstance(node, torch.Tensor):
        return hashlib.sha256(node.contiguous().flatten().view(torch.uint8).numpy()).hexdigest()
    if isinstance(node, dict):
        return "{" + ",".join(f"{key}:{_text(value)}" for key, value in node.items()) + "}"
    if isinstance(node, list | tuple):
        return "[" + ",".join(map(_text, node)) + "]"
    return repr(node)


def compare(run: Run, folder: Path, kills: int, draw: random.Random) -> dict:
    """One undisturbed run, and as many others as ``kills``, each killed once and resumed; what came out."""
    begin = time.monotonic()
    process = run.start(folder / "whole")
    while not kept(folder / "whole") and not ended(process):
        time.sleep(0.01)
    first = time.monotonic() - begin
    finish(process, folder / "whole")
    whole, duration = digests(folder / "whole"), time.monotonic() - begin
    runs = []
    while len(runs) < kills:
        work_dir = folder / f"killed_{len(runs)}"
        if len(runs) % 2 == 0:  # every other run begins a teacher cache, where it has one: a learngene tells its place
            shutil.rmtree(folder.parent / "cache", ignore_errors=True)
        process = run.start(work_dir)
        if run.kind == "export":
            when = _Since(_Writes(work_dir, draw.randrange(1, 20)), draw.uniform(0, 0.01))
        elif len(runs) % 5 == 0:
            when = _Since(lambda: True, draw.uniform(0, first))
        else:
            when = _Since(partial(kept, work_dir), draw.uniform(0, duration - first))
        seconds = kill(process, work_dir, when)
        if seconds is None:  # it was over first: another try
            shutil.rmtree(work_dir)
            continue
        resumed_from = kept(work_dir)
        half = [path.name for path in work_dir.rglob(".*.tmp")]
        finish(run.start(work_dir, resume=True), work_dir)
        equal = digests(work_dir) == whole
        runs.append(dict(seconds=round(seconds, 3), resumed_from=resumed_from, half_written=half, equal=equal))
        print(f"{run.kind:<14}{len(runs):>3}/{kills}  {runs[-1]}", flush=True)
        if equal:
            shutil.rmtree(work_dir)
    return dict(name=run.kind, seconds=round(duration, 2), files=sorted(whole), runs=runs)


class _Since:
    """True some seconds after something has come true."""

    def __init__(self, event: Callable[[], object], delay: float) -> None:
        self.event, self.delay = event, delay
        self.since: float | None = None

    def __call__(self, seconds: float) -> bool:
        if self.since is None and self.event():
            self.since = seconds
        return self.since is not None and seconds - self.since >= self.delay


class _Writes:
    """True once so many files have been begun in a folder."""

    def __init__(self, folder: Path, wanted: int) -> None:
        self.folder, self.wanted = folder, wanted
        self.seen: set[tuple[str, int]] = set()

    def __call__(self) -> bool:
        for path in self.folder.glob(".*.tmp"):
            try:
                self.seen.add((path.name, path.stat().st_ino))
            except FileNotFoundError:
                continue
        return len(self.seen) >= self.wanted


def measure(kinds: list[str], kills: int, seed: int, folder: Path) -> list[dict]:
    """Runs of these kinds."""
    torch.manual_seed(seed)
    demo = ROOT / "configs" / "demo"
    classifier = MODELS.build({**Config.fromfile(demo / "ancestry.py").model, "_scope_": "mmpretrain"})
    torch.save({"state_dict": classifier.state_dict()}, folder / "teacher.pth")
    digits = dict(head_dim=16, img_size=8, patch_size=2, in_channels=1, num_classes=10)
    gene = LeTs("h3-l4", "h6-l8", groups=2, rows=2, repeats=2, **digits).save(folder / "lets.learngene.safetensors")
    configs = {}
    texts = dict(
        distillation=STAGE_1, elastic=ELASTIC, workers=WORKERS, dense=DENSE, segmentation=SEGMENTATION, sweep=SWEEP
    )
    for name, text in texts.items():
        configs[name] = folder / f"{name}_config.py"
        configs[name].write_text(text.format(demo=demo, teacher=folder / "teacher.pth", folder=folder))
    draw = random.Random(seed)
    return [
        compare(Run(kind, configs[KINDS[kind]], gene), folder / kind.replace(" ", "_"), kills, draw) for kind in kinds
    ]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="killed runs of each kind")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), help="these kinds of runs")
    parser.add_argument("--seed", type=int, default=0, help="of the points in time")
    parser.add_argument("--out", type=Path, help="write everything to this JSON file")
    args = parser.parse_args()
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        results = measure(args.only, args.kills, args.seed, Path(folder))
    rows = [
        (
            "run",
            "seconds undisturbed",
            "kills",
            "before the first checkpoint",
            "inside a write",
            "equal at the end",
        )
    ]
    for result in results:
        runs = result["runs"]
        counts = (
            len(runs),
            sum(not r["resumed_from"] for r in runs),
            sum(bool(r["half_written"]) for r in runs),
            sum(r["equal"] for r in runs),
        )
        rows.append((result["name"], f"{result['seconds']:.1f}", *map(str, counts)))
    print(table(rows, "<>>>>>"))
    if args.out:
        args.out.write_text(json.dumps(results, indent=1))
    sys.exit(any(not run["equal"] for result in results for run in result["runs"]))


if __name__ == "__main__":
    main()
