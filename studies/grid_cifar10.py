"""What is a size worth as it is taken out of an ancestry? From h1-l2 to h6-l8, on CIFAR-10.

    python studies/grid_cifar10.py --data ../shared/data

The study of cifar10.py over a wider range of sizes, with stricter rules. Every tenth training image is held out and is
what trainings are validated on; the test images are read once for each network, after it is finished; and which of
them it classified rightly is kept, so that two networks are compared image by image. Sizes that a learngene was not
fitted or trained for are among those that are tested.

With ``--ancestry`` the ancestry is the one that cifar10.py has trained, on all training images.

* ``short``: a size trained by labels from scratch, for few epochs;
* ``grid``: sizes that a learngene gives, untuned. ``pre-fin`` is the ancestry itself.
"""

from __future__ import annotations

import base64
import math
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import cifar10
import cifar10_runs as runs
import numpy as np
from cifar10_runs import ANCESTRY, BATCH, IMAGES, PRE_FIN, PRETRAINED, QUICK, TEST_IMAGES, Job, Way, spec_of
from common import Results, step_seconds, train
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner
from mmpretrain.registry import METRICS

from mmlearngene import extract
from mmlearngene.engine.run.device import adapt_to_device
from mmlearngene.utils.tables import markdown

GRID = tuple(f"h{heads}-l{layers}" for heads in range(1, 7) for layers in (2, 4, 6, 8))
DIAGONAL = ("h1-l2", "h2-l2", "h2-l4", "h3-l4", "h3-l6", "h4-l6", "h5-l6", "h6-l6", "h6-l8")  # the smallest first
OF_CONTROLS = tuple(size for size in GRID if size in DIAGONAL or size.startswith("h6-"))
HELD_OUT = 10  # one training image in so many is for validation alone
SHORT_EPOCHS = 3
PROTOCOL = runs.FULL
SHORT = "scratch"
EVERY_SIZE = dict(type="mmlearngene.UniformSizes", heads=[1, 6], layers=[2, 8])
_SEEN = [f"h{heads}-l{layers}" for heads in (1, 3, 6) for layers in (2, 4, 8)]
PART = dict(type="mmlearngene.WeightedSizes", sizes=_SEEN, weights=[1] * len(_SEEN))
TAKEN = (
    "principal-widths",
    "principal-odd",
    "principal",
    "channels",
    "weight-selection",
    "first-k",
    "uniform-k",
    "front",
)
WAYS = {  # trained on from what was taken out, for half of the usual epochs
    "principal-trained": Way(dict(sizes=EVERY_SIZE), factor=0.5, trained="principal-widths"),
    "principal-trained-part": Way(dict(sizes=PART), factor=0.5, trained="principal-widths"),
    "channels-trained": Way(dict(sizes=EVERY_SIZE), factor=0.5, trained="channels"),
}
NAMES = {
    "principal-widths": "principal",
    "principal-odd": "principal, refitted for h1, h3, h5 alone",
    "principal": "principal, refitted for h3 to h5 (the default)",
    "channels": "the ancestry's first heads and channels",
    "weight-selection": "weight selection",
    "first-k": "first-k",
    "uniform-k": "uniform-k",
    "front": "FRONT",
    SHORT: f"scratch by labels, {SHORT_EPOCHS} epochs",
    "principal-trained": "principal, trained on at all sizes",
    "principal-trained-part": "principal, trained on at nine sizes",
    "channels-trained": "nested in the ancestry's channels, trained at all sizes",
}
DRAWN = ("principal-widths", "weight-selection", "first-k", "uniform-k", "front", SHORT, "principal-trained")
ELASTIC = "lets-started-3x"  # of cifar10.py
PAIRS = (
    ("principal-widths", "weight-selection"),
    ("principal-widths", "channels"),
    ("principal-widths", SHORT),
    ("principal-odd", "principal-widths"),
    ("principal-trained", "channels-trained"),
    ("principal-trained-part", "principal-trained"),
)


@METRICS.register_module()
class Correct(BaseMetric):
    """Top-1 in %; ``right`` has for every image, in the order of the data set, whether it was classified rightly."""

    default_prefix = "accuracy"
    right: np.ndarray

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        self.results += [bool(sample["pred_label"] == sample["gt_label"]) for sample in data_samples]

    def compute_metrics(self, results: list[bool]) -> dict[str, float]:
        self.right = np.array(results)
        return {"top1": 100 * float(self.right.mean())}


def packed(right: np.ndarray) -> str:
    """Verdicts (N,) as text, eight in a byte."""
    return base64.b64encode(np.packbits(right)).decode()


def unpacked(text: str, count: int) -> np.ndarray:
    """Verdicts (N,) of :func:`packed`.

    >>> unpacked(packed(np.array([True, False, True])), 3)
    array([ True, False,  True])
    """
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=count).astype(bool)


def paired(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """How much better ``one`` is on the same images, and the half of a 95 % interval, in points (McNemar's variance).

    >>> paired(np.array([True] * 60 + [False] * 40), np.array([True] * 50 + [False] * 50))
    (10.0, 5.88)
    """
    gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
    mean = (gained - lost) / len(one)
    variance = ((gained + lost) / len(one) - mean**2) / len(one)
    return round(100 * mean, 2), round(196 * math.sqrt(variance), 2)


class Study(runs.Study):
    """The study with images held out for validation, and tests that keep the verdict on every image."""

    ways: ClassVar = WAYS

    def steps_of(self, share: float) -> int:
        return math.ceil(share * self.images / BATCH)

    @property
    def images(self) -> int:
        """How many images are trained on."""
        return len(self.split()[0])

    def split(self) -> tuple[list[int], list[int]]:
        """Numbers of the training images that are trained on, and of those held out."""
        held = range(0, IMAGES, HELD_OUT)
        trained = [number for number in range(IMAGES) if number not in held]
        return trained[:: self.protocol.every], list(held)[:: self.protocol.every]

    def adopt(self, folder: Path, results: Results) -> None:
        """Take the ancestry of another study in the place of one of its own.

        Args:
            folder: the work dir of cifar10.py.
            results: its results.
        """
        if self.finished(PRETRAINED):
            return
        other = runs.Study(folder, self.data, results, self.protocol)
        for source, target in zip(other.products(PRETRAINED), self.products(PRETRAINED), strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        cfg = self._config(self.protocol.scratch)
        cfg.model = self._classifier(ANCESTRY)
        self._write_configs(cfg)
        self.results.add(PRETRAINED.name, {**results.get(PRETRAINED.name), "adopted": True})

    def needs(self, job: Job) -> list[Job]:
        if job.kind == "short":
            return []
        if job.kind == "grid":
            return [PRETRAINED] if job.row == PRE_FIN else [Job("gene", job.row, seed=job.seed)]
        if job.kind == "gene" and job.row in WAYS:
            return [PRETRAINED, Job("gene", WAYS[job.row].trained)]
        return super().needs(job)

    def short(self, job: Job) -> dict:
        """Train a size by labels for few epochs, and test it."""
        cfg = self._config(job.epochs, seed=job.seed)
        cfg.model = self._classifier(job.size)
        runner, metrics = train(cfg, self.root / job.name)
        gene = self.gene_file("short", job.size, job.seed)
        extract("pre-fin", self._checkpoint(job.name, job.epochs), like=spec_of(job.size)).save(gene)
        found = dict(validation=metrics["accuracy/top1"], step_seconds=step_seconds(runner))
        return {**found, **self._tested(job.size, dict(type="Learngene", checkpoint=str(gene)), job.name)}

    def grid(self, job: Job) -> dict:
        """Test sizes that a learngene expands to, untuned: all of a principal one, fewer of a control."""
        asked = GRID if job.row.startswith("principal") else OF_CONTROLS
        sizes = [ANCESTRY] if job.row == PRE_FIN else [s for s in asked if self._expands(job.row, s, job.seed)]
        starts = {size: self._start(job.row, size, job.seed) for size in sizes}
        found = {size: self._tested(size, start, f"{job.name}_{size}") for size, start in starts.items()}
        return {key: {size: values[key] for size, values in found.items()} for key in ("accuracy", "right")}

    def _config(self, *args, **kwargs) -> Config:
        cfg = super()._config(*args, **kwargs)
        trained, held = self.split()
        train_data, val_data = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
        val_data.update(data_root=train_data.data_root, indices=held)
        train_data.indices = trained
        return cfg

    def _tested(self, size: str, start: dict, name: str) -> dict:
        """Accuracy in % on the test images, and the verdicts."""
        cfg = self._config(1)
        cfg.model = self._classifier(size, init_cfg=start)
        indices = list(range(0, TEST_IMAGES, self.protocol.every))
        cfg.val_dataloader.dataset.update(data_root=str(self.root / "images" / "test"), indices=indices)
        cfg.val_evaluator = dict(type="Correct")
        for part in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"):
            cfg[part] = None
        cfg.update(work_dir=str(self.root / "val"), experiment_name=f"val_{name}", log_level="WARNING")
        runner = Runner.from_cfg(adapt_to_device(cfg))
        runner.model.init_weights()
        accuracy = float(runner.val()["accuracy/top1"])
        return dict(accuracy=accuracy, right=packed(runner.val_evaluator.metrics[0].right))


@dataclass(frozen=True)
class Tables:
    """What is finished, in Markdown; empty where nothing is.

    Attributes:
        study: the runs.
    """

    study: Study

    def all(self) -> dict[str, str]:
        """Name -> table."""
        return dict(grid=self.grid(), paired=self.paired())

    def found(self, row: str, key: str = "accuracy") -> dict:
        """Size -> accuracy in %, or verdicts (``right``), of what is finished."""
        if row != SHORT:
            return (self.study.result(Job("grid", row)) or {}).get(key, {})
        tested = {size: self.study.result(Job("short", size=size, epochs=SHORT_EPOCHS)) for size in DIAGONAL}
        return {size: result[key] for size, result in tested.items() if result}

    def grid(self) -> str:
        """Every size by every way."""
        rows = {row: accuracy for row in NAMES if (accuracy := self.found(row))}
        cells = [[size, *(cifar10.shown(found.get(size)) for found in rows.values())] for size in GRID if rows]
        return markdown(["top-1 in %, untuned", *(NAMES[row] for row in rows)], cells)

    def paired(self) -> str:
        """Differences of two ways on the same images."""
        count, cells = len(range(0, TEST_IMAGES, self.study.protocol.every)), []
        for one, other in PAIRS:
            first, second = (self.found(row, "right") for row in (one, other))
            if not (first and second):
                continue
            shown = []
            for size in DIAGONAL:
                both = size in first and size in second
                mean, half = paired(*(unpacked(of[size], count) for of in (first, second))) if both else (0.0, 0.0)
                shown.append(f"{mean:+.1f} ± {half:.1f}" if both else "")
            cells.append([f"{NAMES[one]} - {NAMES[other]}", *shown])
        return markdown(["difference in points, 95 % interval over the test images", *DIAGONAL], cells)


def draw(tables: Tables, other: cifar10.Tables, figures: Path) -> None:
    """The figure of the first page: some ways over sizes from the smallest to the largest.

    Args:
        tables: what is finished here.
        other: of the study whose ancestry was taken: what was trained there stands beside.
        figures: where it goes.
    """
    found = {row: tables.found(row) for row in DRAWN}
    shown = {NAMES[row]: {s: accuracy[s] for s in DIAGONAL if s in accuracy} for row, accuracy in found.items()}
    if (tables.study.result(PRETRAINED) or {}).get("adopted"):
        trained = other.mean_untuned(ELASTIC)
        shown[other.name(ELASTIC)] = {size: trained[size] for size in DIAGONAL if size in trained}
        ends = {size: [run["accuracy"][-1] for run in other.of_seeds("scratch", "", size)] for size in DIAGONAL}
        epochs = cifar10.counted(other.study.protocol.scratch)
        shown[f"scratch by labels, {epochs}"] = {size: statistics.mean(found) for size, found in ends.items() if found}
    if shown := {name: values for name, values in shown.items() if values}:
        cifar10.plot_family(shown, figures / "grid_cifar10.png", f"CIFAR-10, untuned: from {GRID[0]} to {ANCESTRY}")


def jobs() -> list[Job]:
    """The whole study, what costs least first."""
    todo = [Job("grid", PRE_FIN), *(Job("grid", row) for row in TAKEN)]
    todo += [Job("short", size=size, epochs=SHORT_EPOCHS) for size in DIAGONAL]
    return todo + [Job("grid", row) for row in WAYS]


def main() -> None:
    """Run the study."""
    parser = cifar10.arguments(__doc__)
    parser.add_argument("--ancestry", type=Path, help="a work dir of cifar10.py whose ancestry is taken")
    parser.add_argument(
        "--ancestry-results", type=Path, default=Path("studies/results/cifar10.jsonl"), help="the results of that study"
    )
    parser.set_defaults(work_dir=Path("work_dirs/grid"))
    args = parser.parse_args()
    protocol = replace(PROTOCOL, scratch=1, epochs=2, every=QUICK.every) if args.quick else PROTOCOL
    study = Study(args.work_dir, args.data, Results(args.results or args.work_dir / "results.jsonl"), protocol)
    if args.ancestry and not args.report:
        study.adopt(args.ancestry, Results(args.ancestry_results))
    cifar10.work(study, jobs(), args)
    if found := study.result(Job("grid", PRE_FIN)):
        print(f"the ancestry {ANCESTRY}: {found['accuracy'][ANCESTRY]:.1f} % on the test images\n")
    tables = Tables(study)
    cifar10.show(tables.all(), args.pages)
    other = runs.Study(args.ancestry or args.work_dir, args.data, Results(args.ancestry_results))
    draw(tables, cifar10.Tables(other, args.seeds), args.figures)


if __name__ == "__main__":
    main()
