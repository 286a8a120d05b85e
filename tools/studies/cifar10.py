"""What is a learngene worth? All ways to one's own ViT side by side, on CIFAR-10 and then on CamVid.

    python tools/studies/cifar10.py --data ../shared/data

An ancestry h6-l8 (heads of 16, patch 8) is trained on CIFAR-10 and teaches, or gives, learngenes. Their descendants of
twelve sizes are tested as they are, tuned, and used as backbones of UperNet. ``--only`` chooses runs by their names,
the file names of their results: ``untuned_*``, ``own_*``, ``tuned_lets-uniform_h4-l6_*``, ``camvid_*``.

A run is one method of :class:`Study`; what it needs is done before it. Every run leaves a JSON file; what is finished
is not done again, what was interrupted is resumed, and the report is made of these files alone (``--report``).
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import cycle
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
warnings.filterwarnings("ignore")

import torch  # noqa: E402
from common import read_json, step_seconds, table_row, train, unpack_cifar10, write_json  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import EngFormatter  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from torch import nn  # noqa: E402

from mmlearngene import LearngeneError, extract  # noqa: E402
from mmlearngene.engine.device import adapt_to_device  # noqa: E402
from mmlearngene.files import SUFFIX  # noqa: E402
from mmlearngene.layouts.mmpretrain import classifier_cfg  # noqa: E402
from mmlearngene.learngenes import load  # noqa: E402
from mmlearngene.models import LearngeneDistiller  # noqa: E402
from mmlearngene.models.seg_sizes import upernet  # noqa: E402
from mmlearngene.models.sizes import Step, build_sizes  # noqa: E402
from mmlearngene.registry import MODELS  # noqa: E402
from mmlearngene.spec import ViTSpec  # noqa: E402
from mmlearngene.tokens import token_model  # noqa: E402
from mmlearngene.weights import PARTS  # noqa: E402

CONFIGS = Path("configs/study")
VIT = dict(head_dim=16, patch_size=8, img_size=32, num_classes=10, class_token=False, pool="avg_norm")
ANCESTRY = "h6-l8"
IMAGES, TEST_IMAGES, BATCH = 50_000, 10_000, 128
SIZES = tuple(f"h{heads}-l{layers}" for heads in (3, 4, 5, 6) for layers in (4, 6, 8))
COMPARED = ("h3-l4", "h4-l6", "h5-l6", "h6-l4", "h6-l6", "h6-l8")  # three narrower than the ancestry, three as wide
LETS = dict(type="mmlearngene.LeTs", learngene="h3-l4", aux=ANCESTRY, groups=2, rows=2, repeats=2)
RANGE = dict(heads=[3, 6], layers=[4, 8])


@dataclass(frozen=True)
class Way:
    """A learngene trained in its Aux-Net: overrides of the Aux-Net, and how many times the usual epochs."""

    student: dict
    factor: int = 1


UNIFORM = dict(type="mmlearngene.UniformSizes", **RANGE)
SANDWICH = dict(type="mmlearngene.SandwichSizes", count=1, smallest=False, **RANGE)
TRAINED = {
    "lets": Way(dict(learngene=LETS)),
    "lets-uniform": Way(dict(learngene=LETS, sizes=UNIFORM)),
    "lets-uniform-2x": Way(dict(learngene=LETS, sizes=UNIFORM), factor=2),
    # what each size trained on its own has more: one thing changed at a time
    "lets-uniform-3x": Way(dict(learngene=LETS, sizes=UNIFORM), factor=3),
    "lets-sandwich": Way(dict(learngene=LETS, sizes=SANDWICH)),
    "lets-in-place": Way(dict(learngene=LETS, sizes=SANDWICH, in_place=dict(share=0.5, reduction="batchmean"))),
    "lets-rows": Way(dict(learngene={**LETS, "rows": 4, "repeats": 1}, sizes=UNIFORM), factor=2),
    "lets-larger": Way(dict(learngene={**LETS, "learngene": "h3-l8"}, sizes=UNIFORM), factor=2),
    "tleg": Way(dict(learngene=dict(type="mmlearngene.TLEG", aux=ANCESTRY))),
    "sws": Way(dict(learngene=dict(type="mmlearngene.SWS", aux=ANCESTRY, stages=[2, 2, 2, 2]))),
}


ABLATED = "lets-uniform-3x"
CLAIMED = (ABLATED, "weight-selection")  # of which there are several seeds at every size
ELASTIC = tuple(way for way in TRAINED if way.startswith("lets"))


@dataclass(frozen=True)
class Taken:
    """A learngene taken out of the ancestry: its method, and the options of extraction and expansion."""

    method: str
    extract: dict = field(default_factory=dict)
    expand: dict = field(default_factory=dict)


EXTRACTED = {
    "cluster": Taken("cluster", dict(num_images=500, eps=0.05)),
    "weight-selection-row": Taken("weight-selection", expand=dict(unit="row")),
    **{
        method: Taken(method)
        for method in (
            "peg", "first-k", "uniform-k", "weight-selection", "front", "heuristic", "auto-learngene", "mimetic"
        )
    },
}  # fmt: skip
# a training for each size: distilled, by labels, and none before tuning
OWN, PRE_FIN, SCRATCH = "own", "pre-fin", "scratch"
SCRATCH_LR = 2e-3  # also of every distillation
LR = dict.fromkeys(EXTRACTED, 1e-3)  # of tuning; what was trained for its place takes less
TUNED_LR = 5e-4
RATES = (5e-4, 1e-3, 2e-3, 4e-3)  # whether another one would have been better
TITLES = {  # of what the figure shows, each with its cost
    OWN: "each size distilled on its own",
    "lets-uniform-3x": "elastic: one random size a step, three times the paper's epochs",
    "lets-uniform-2x": "elastic: twice the paper's epochs",
    "lets-uniform": "elastic: the paper's epochs",
    "lets": "as in the paper: every step trains the largest size",
}


@dataclass(frozen=True)
class Protocol:
    """How long everything takes.

    Attributes:
        scratch: epochs of a size that is trained by labels from the start, of which the ancestry is one.
        epochs: of every distillation.
        iterations: on CamVid.
        every: one image in so many is used, for training and for tests.
        compared: sizes that every way is tuned at.
    """

    scratch: int = 12
    epochs: int = 6
    iterations: int = 600
    every: int = 1
    compared: tuple[str, ...] = COMPARED


FULL = Protocol()
QUICK = Protocol(scratch=4, epochs=2, iterations=60, every=10, compared=("h4-l6", "h6-l8"))


@dataclass(frozen=True)
class Job:
    """One run: a method of :class:`Study`, and its arguments."""

    kind: str
    row: str = ""
    size: str = ""
    seed: int = 0
    epochs: int = 0

    @property
    def name(self) -> str:
        """Also the name of its result and its folder."""
        parts = (self.row, self.size, f"e{self.epochs}" if self.epochs else "", f"s{self.seed}")
        return "_".join([self.kind, *filter(None, parts)])


PRETRAINED = Job("scratch", size=ANCESTRY)  # what is the ancestry of all the others


@MODELS.register_module()
class SideBySide(LearngeneDistiller):
    """Several students of one teacher, each trained by itself: none sees another's gradient.

    The teacher, and the reading and changing of images, are shared, which is all that is saved. ``students`` are named;
    the run is validated at the first of them. With ``features`` the loss is the mean of theirs, of whose scale AdamW
    takes no notice.
    """

    def __init__(self, students: dict[str, dict], **kwargs) -> None:
        super().__init__(student=next(iter(students.values())), **kwargs)
        self.student = None
        self.students = nn.ModuleDict({name: MODELS.build(cfg) for name, cfg in students.items()})

    def forward(self, inputs, data_samples=None, mode="tensor"):
        if self.features:
            return super().forward(inputs, data_samples, mode)
        if mode != "loss":
            return next(iter(self.students.values()))(inputs, data_samples, mode)
        with torch.no_grad():
            target = self.teacher(inputs, self.data_preprocessor)
        losses = {name: self._losses(student(inputs), target, data_samples) for name, student in self.students.items()}
        return {f"{name}/{key}": value for name, found in losses.items() for key, value in found.items()}

    def _views(self, img_size=None):
        yield from map(token_model, self.students.values())


@dataclass
class Study:
    """All runs of one work dir.

    Attributes:
        root: the work dir.
        data: the folder with cifar10_jpeg and camvid_half.
        results: the folder of the results.
        protocol: how long everything takes.
    """

    root: Path
    data: Path
    results: Path
    protocol: Protocol = FULL

    # ------------------------------------------------------------------ runs and their results

    def result(self, job: Job) -> dict | None:
        """What a run came to, if it is finished."""
        return read_json(self.results / f"{job.name}.json")

    def products(self, job: Job) -> list[Path]:
        """Files that a run leaves for others."""
        rows = {"gene": (job.row, [""]), "own": (OWN, SIZES), "scratch": (PRE_FIN, [job.size])}
        row, sizes = rows.get(job.kind, ("", []))
        files = [self.gene_file(row, size, job.seed) for size in sizes]
        return [*files, self.ancestry_file] if job == PRETRAINED else files

    def finished(self, job: Job) -> bool:
        """Whether a run has its result, and what it leaves for others is still there."""
        return self.result(job) is not None and all(path.exists() for path in self.products(job))

    def do(self, job: Job) -> dict:
        """Do a run, unless that is done."""
        if not self.finished(job):
            torch.set_num_threads(1)
            write_json(self.results / f"{job.name}.json", getattr(self, job.kind)(job))
        return self.result(job)

    def needs(self, job: Job) -> list[Job]:
        """What has to be done before a run."""
        if SCRATCH in (job.kind, job.row):
            return []
        if job.kind == "skipped":
            return [Job("gene", ABLATED)]
        if job.kind not in ("untuned", "tuned", "rates", "camvid"):
            return [PRETRAINED]
        seed = self.source_seed(job)
        if job.row == OWN:
            return [Job("own", seed=seed)]
        if job.row == PRE_FIN:
            return [Job("scratch", size=job.size, seed=seed)]
        return [Job("gene", job.row, seed=seed)]

    @staticmethod
    def source_seed(job: Job) -> int:
        """Seed of what a run starts from: several trainings of a descendant start from one learngene."""
        return job.seed if job.kind == "untuned" else 0

    def all_of(self, jobs: list[Job]) -> list[Job]:
        """The runs that are to be done and all that they need, in an order that can be followed."""
        ordered: dict[Job, None] = {}
        for job in jobs:
            if not self.finished(job):
                ordered.update(dict.fromkeys([*self.all_of(self.needs(job)), job]))
        return list(ordered)

    def run(self, jobs: list[Job], processes: int) -> Iterator[tuple[Job, dict]]:
        """Do runs, ``processes`` at a time, each as soon as what it needs is there."""
        waiting = self.all_of(jobs)
        running = {}
        with ProcessPoolExecutor(processes) as pool:
            while waiting or running:
                for job in [job for job in waiting if all(self.finished(need) for need in self.needs(job))]:
                    if len(running) == processes:
                        break
                    waiting.remove(job)
                    running[pool.submit(self.do, job)] = job
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()

    # ------------------------------------------------------------------ kinds of runs

    def scratch(self, job: Job) -> dict:
        """Train a size by labels, and keep it as a learngene of its own size; its accuracy after every epoch."""
        epochs = self.protocol.scratch
        cfg = self._config(epochs, seed=job.seed)
        cfg.model = self._classifier(job.size)
        if job == PRETRAINED:
            cfg.dump(self.root / "ancestry.py")  # for those who need it as a teacher
        runner, _ = train(cfg, self.root / job.name)
        checkpoint = self._checkpoint(job.name, epochs)
        extract("pre-fin", checkpoint, like=spec_of(job.size)).save(self.gene_file(PRE_FIN, job.size, job.seed))
        params = sum(parameter.numel() for parameter in runner.model.parameters())
        return dict(accuracy=accuracies(runner), epochs=epochs, step_seconds=step_seconds(runner), params=params)

    def gene(self, job: Job) -> dict:
        """Train a learngene in its Aux-Net, or take it out of the ancestry."""
        target = self.gene_file(job.row, "", job.seed)
        if job.row in EXTRACTED:
            taken = EXTRACTED[job.row]
            images = dict(data=str(self.root / "ancestry.py")) if taken.method == "cluster" else {}
            learngene = extract(taken.method, self.ancestry_file, like=spec_of(ANCESTRY), **images, **taken.extract)
            learngene.save(target)
            return dict(params=learngene.stored_params()["total"], epochs=0, step_seconds=0.0)
        way = TRAINED[job.row]
        epochs = way.factor * self.protocol.epochs
        cfg = self._config(epochs, seed=job.seed)
        cfg.model = self._distiller(
            student=dict(type="mmlearngene.AuxNet", **{**way.student, "learngene": learngene_cfg(way)})
        )
        cfg.custom_hooks = [dict(type="mmlearngene.LearngeneExportHook")]
        runner, metrics = train(cfg, self.root / job.name)
        written = self._checkpoint(job.name, epochs).with_suffix(SUFFIX)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(written.read_bytes())
        params = runner.model.student.learngene.stored_params()["total"]
        return dict(params=params, epochs=epochs, step_seconds=step_seconds(runner), aux=metrics["accuracy/top1"])

    def own(self, job: Job) -> dict:
        """Distil every size on its own, from the same teacher for the same epochs."""
        epochs = self.protocol.epochs
        cfg = self._config(epochs, seed=job.seed)
        cfg.model = self._distiller(
            type="mmlearngene.SideBySide", students={size: self._classifier(size) for size in SIZES}
        )
        runner, _ = train(cfg, self.root / job.name)
        accuracy = {}
        for size, student in runner.model.students.items():
            file = self.root / job.name / f"{size}.pth"
            torch.save(student.state_dict(), file)
            extract("pre-fin", file, like=spec_of(size)).save(self.gene_file(OWN, size, job.seed))
            accuracy[size] = self._accuracy(OWN, size, job.seed)
        return dict(accuracy=accuracy, epochs=epochs, step_seconds=step_seconds(runner))

    def cost(self, job: Job) -> dict:
        """Processor time of a step of a size's own distillation, without the others beside it."""
        cfg = self._config(1, seed=job.seed)
        cfg.model = self._distiller(student=self._classifier(job.size))
        cfg.train_dataloader.dataset.indices = 40 * cfg.train_dataloader.batch_size
        runner, _ = train(cfg, self.root / job.name)
        return dict(step_seconds=step_seconds(runner))

    def untuned(self, job: Job) -> dict:
        """Test all sizes that a learngene expands to as they are."""
        sizes = [size for size in SIZES if self._expands(job.row, size, job.seed)]
        return dict(accuracy={size: self._accuracy(job.row, size, job.seed) for size in sizes})

    def tuned(self, job: Job) -> dict:
        """Train a descendant by labels; its accuracy after every epoch. None where the learngene has no such size."""
        if job.row in (*TRAINED, *EXTRACTED) and not self._expands(job.row, job.size, self.source_seed(job)):
            return dict(accuracy=None)
        start = self._start(job.row, job.size, self.source_seed(job))
        return self._tune(job, start, LR.get(job.row, TUNED_LR))

    def rates(self, job: Job) -> dict:
        """Train a descendant by labels at several learning rates; its accuracy at the end of each."""
        start = self._start(job.row, job.size, self.source_seed(job))
        ends = {f"{lr:g}": self._tune(job, start, lr, f"_{lr:g}")["accuracy"][-1] for lr in RATES}
        return dict(accuracy=ends)

    def skipped(self, job: Job) -> dict:
        """``ABLATED`` without one part of what a descendant inherits, as it is and trained by labels."""
        start = {**self._start(ABLATED, job.size, 0), "skip": job.row}
        return dict(untuned=self._test(job.size, start, job.name), **self._tune(job, start, TUNED_LR))

    def camvid(self, job: Job) -> dict:
        """UperNet on a descendant; mIoU on the validation and test images."""
        return self._segment(job, upernet, self._start(job.row, job.size, self.source_seed(job)))

    # ------------------------------------------------------------------ pieces of them

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return math.ceil(IMAGES / self.protocol.every / BATCH)

    @property
    def ancestry_file(self) -> Path:
        """Checkpoint of the ancestry."""
        return self._checkpoint(PRETRAINED.name, self.protocol.scratch)

    def gene_file(self, row: str, size: str, seed: int) -> Path:
        """The learngene of a row; of a size where each has its own."""
        return self.root / "genes" / ("_".join([row, *filter(None, [size]), f"s{seed}"]) + SUFFIX)

    def _checkpoint(self, name: str, epochs: int) -> Path:
        return self.root / name / f"epoch_{epochs}.pth"

    def _gene_of(self, row: str, size: str, seed: int) -> Path:
        return self.gene_file(row, size if row in (OWN, PRE_FIN) else "", seed)

    def _start(self, row: str, size: str, seed: int) -> dict | None:
        """The ``init_cfg`` of a descendant."""
        if row == SCRATCH:
            return None
        options = EXTRACTED[row].expand if row in EXTRACTED else {}
        return dict(type="Learngene", checkpoint=str(self._gene_of(row, size, seed)), **options)

    def _segment(self, job: Job, model: Callable[..., dict], start: dict | None) -> dict:
        """Train a segmentor on CamVid, end to end; ``model`` gives the parts of it that follow from the size."""
        cfg = Config.fromfile(CONFIGS / "camvid_des.py")
        length = self.protocol.iterations
        cfg.merge_from_dict({"model": model(spec_of(job.size), num_classes=11, crop_size=cfg.crop_size)})
        cfg.model.backbone.drop_path_rate = 0.0
        cfg.model.init_cfg = start
        for split in ("train", "val", "test"):
            cfg[f"{split}_dataloader"].dataset.data_root = str(self.data / "camvid_half")
        if job.row == SCRATCH:  # layer decay protects what was inherited; a random backbone has nothing to protect
            cfg.optim_wrapper.paramwise_cfg.layer_decay_rate = 1.0
        changed = {"train_cfg.max_iters": length, "train_cfg.val_interval": length, "randomness.seed": job.seed}
        cfg.merge_from_dict({**changed, "param_scheduler.1.end": length, "default_hooks.checkpoint.interval": length})
        runner, metrics = train(cfg, self.root / job.name)
        return dict(val=float(metrics["mIoU"]), test=float(runner.test()["mIoU"]), step_seconds=step_seconds(runner))

    def _tune(self, job: Job, start: dict | None, lr: float, folder: str = "") -> dict:
        cfg = self._config(job.epochs, lr=lr, seed=job.seed)
        cfg.model = self._classifier(job.size, init_cfg=start)
        runner, _ = train(cfg, self.root / f"{job.name}{folder}")
        return dict(accuracy=accuracies(runner), step_seconds=step_seconds(runner))

    def _config(self, epochs: int, lr: float = SCRATCH_LR, seed: int = 0) -> Config:
        """Data, schedule and runtime on CIFAR-10: an epoch of warm-up, a tenth in tuning, then a cosine."""
        cfg = Config.fromfile(CONFIGS / "camvid_cifar10.py")
        for split, loader in (("train", cfg.train_dataloader), ("test", cfg.val_dataloader)):
            loader.dataset.update(type="PackedImages", data_root=str(self.root / "images" / split))
            loader.dataset.pipeline = loader.dataset.pipeline[1:]  # they are decoded
        cfg.train_dataloader.batch_size = BATCH
        if self.protocol.every > 1:
            cfg.train_dataloader.dataset.indices = list(range(0, IMAGES, self.protocol.every))
            cfg.val_dataloader.dataset.indices = list(range(0, TEST_IMAGES, self.protocol.every))
        steps = self.steps
        cfg.optim_wrapper.optimizer.update(lr=lr, fused=True)
        cfg.optim_wrapper.clip_grad = None  # one norm over all sizes would tie those that train side by side
        warmup = max(1, min(steps // 10 if lr < SCRATCH_LR else steps, epochs * steps // 2))
        cfg.param_scheduler = [
            dict(type="LinearLR", start_factor=0.05, by_epoch=False, end=warmup),
            dict(type="CosineAnnealingLR", eta_min=1e-5, by_epoch=False, begin=warmup, end=epochs * steps),
        ]
        cfg.train_cfg.max_epochs = epochs
        cfg.randomness.seed = seed
        return cfg

    def _classifier(self, size: str, **overrides) -> dict:
        return classifier_cfg(spec_of(size), **overrides)

    def _distiller(self, **kwargs) -> dict:
        teacher = dict(
            type="mmlearngene.ClassifierTeacher",
            config=str(self.root / "ancestry.py"),
            checkpoint=str(self.ancestry_file),
        )
        return {
            "type": "mmlearngene.LearngeneDistiller",
            "teacher": teacher,
            "distill": dict(tau=1.0, reduction="batchmean"),
            **kwargs,
        }

    def _expands(self, row: str, size: str, seed: int) -> bool:
        try:
            load(self.gene_file(row, "", seed)).target(spec_of(size))
        except LearngeneError:
            return False
        return True

    def _accuracy(self, row: str, size: str, seed: int) -> float:
        """Top-1 on the test images, in %, of what a learngene file gives as it is."""
        return self._test(size, self._start(row, size, seed), f"{row}_{size}_s{seed}")

    def _test(self, size: str, start: dict, name: str) -> float:
        cfg = self._config(1)
        cfg.model = self._classifier(size, init_cfg=start)
        for part in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"):
            cfg[part] = None
        cfg.update(work_dir=str(self.root / "val"), experiment_name=f"val_{name}", log_level="WARNING")
        runner = Runner.from_cfg(adapt_to_device(cfg))
        runner.model.init_weights()
        return float(runner.val()["accuracy/top1"])

    # ------------------------------------------------------------------ the report

    def accuracy(self, row: str, seed: int = 0) -> dict[str, float]:
        """Size -> untuned top-1 in %, of the sizes that are finished."""
        found = self.result(Job("own", seed=seed) if row == OWN else Job("untuned", row, seed=seed))
        return found["accuracy"] if found else {}

    def epochs(self, row: str, sizes: tuple[str, ...] = SIZES) -> int:
        """Epochs of a row's trainings; of ``sizes`` together where each has its own."""
        if row == PRE_FIN:
            return len(sizes) * self.protocol.scratch
        times = len(sizes) if row == OWN else TRAINED[row].factor if row in TRAINED else 0
        return times * self.protocol.epochs

    def seconds(self, row: str, sizes: tuple[str, ...] = SIZES) -> float | None:
        """Processor seconds of a row's trainings, one thread; of ``sizes`` together where each has its own."""
        runs = [Job("gene", row)]
        if row in (OWN, PRE_FIN):
            runs = [Job("cost" if row == OWN else "scratch", size=size) for size in sizes]
        found = list(map(self.result, runs))
        if not all(found):
            return None
        epochs = self.protocol.epochs if row == OWN else found[0]["epochs"]  # a run of costs is short
        return sum(run["step_seconds"] for run in found) * self.steps * epochs

    def flops(self, row: str, sizes: tuple[str, ...] = SIZES) -> float:
        """Floating-point operations of a row's trainings: the networks, backward twice forward, and the teacher.

        The draws of sizes are a run's own. The expansion is left out: its work is a small part for batches of 128.
        """
        images, teacher = self.steps * BATCH * self.epochs(row, sizes), spec_of(ANCESTRY).flops
        if row in (OWN, PRE_FIN):
            students = statistics.mean(3 * spec_of(size).flops for size in sizes)
            return images * (students + teacher * (row == OWN))
        if row in EXTRACTED:
            return 0
        way = TRAINED[row]
        steps = self.epochs(row) * self.steps
        drawn = [[spec_of(ANCESTRY)]]
        if sampled := way.student.get("sizes"):
            sampler = build_sizes(sampled, MODELS.build(learngene_cfg(way)))
            drawn = [sampler.draw(Step(0, step, steps)) for step in range(min(steps, 2000))]
        students = statistics.mean(3 * sum(spec.flops for spec in specs) for specs in drawn)
        return images * (students + teacher)

    def report(self, seeds: int, figures: Path | None) -> None:
        """Tables of what is finished, in Markdown, and the figures."""
        if found := self.result(PRETRAINED):
            print(f"ancestry {ANCESTRY}: {found['accuracy'][-1]:.1f} % after {found['epochs']} epochs")
        self._report_elastic(figures)
        self._report_transfer(seeds)
        self._report_compared(seeds)
        self._report_costs()
        self._report_skipped()
        self._report_rates()

    def _report_elastic(self, figures: Path | None) -> None:
        own = self.accuracy(OWN)
        rows = {row: found for row in (*ELASTIC, OWN) if (found := self.accuracy(row))}
        if not rows:
            return
        print(table_row("size", *rows, *(f"{row} / own" for row in rows if own and row != OWN)))
        print(table_row(*["---"] * (1 + len(rows) + (len(rows) - 1 if own else 0))))
        for size in SIZES:
            ratios = [f"{found[size] / own[size]:.3f}" for row, found in rows.items() if own and row != OWN]
            print(table_row(size, *(f"{found[size]:.1f}" for found in rows.values()), *ratios))
        for row, found in rows.items():
            seconds = self.seconds(row)
            least = min(found[size] / own[size] for size in SIZES) if own else math.nan
            print(
                f"{row}: least {min(found.values()):.1f}, mean {statistics.mean(found.values()):.1f}, least ratio "
                f"{least:.3f}; {self.flops(row) / 1e15:.2f} PFLOP, {seconds or math.nan:.0f} s of processor time"
            )
        if figures:
            cost = {row: self.flops(row) / self.flops("lets") for row in TITLES if row in rows}
            shown = {f"{TITLES[row]}, cost {value:.1f}": rows[row] for row, value in cost.items()}
            plot_family(shown, figures / "family_cifar10.png", "Twelve sizes, without any tuning")

    def _report_transfer(self, seeds: int) -> None:
        names = ("untuned", "1 epoch", "5 epochs", "CamVid val", "CamVid test")
        print(table_row("h4-l6", "seeds", *names))
        print(table_row(*["---"] * (2 + len(names))))
        for row in (*TRAINED, PRE_FIN, SCRATCH, *EXTRACTED):
            values: dict[str, list[float]] = {name: [] for name in names}
            for seed in range(seeds):
                if found := self.accuracy(row, seed).get("h4-l6"):
                    values["untuned"].append(found)
                for epochs in (1, 5):
                    found = self.result(Job("tuned", row, "h4-l6", seed, epochs))
                    if found and found["accuracy"]:
                        values[f"{epochs} epoch{'s' * (epochs > 1)}"].append(found["accuracy"][-1])
                if found := self.result(Job("camvid", row, "h4-l6", seed)):
                    values["CamVid val"].append(found["val"])
                    values["CamVid test"].append(found["test"])
            if any(values.values()):
                print(table_row(row, max(map(len, values.values())), *map(with_spread, values.values())))

    def _report_compared(self, seeds: int) -> None:
        """For each size: untuned, after an epoch, and how many epochs from scratch are as good as that."""
        sizes = self.protocol.compared
        rows = {
            row: [self._compared(row, size, seeds) for size in sizes] for row in (OWN, PRE_FIN, *TRAINED, *EXTRACTED)
        }
        if any(map(any, rows.values())):
            print(table_row("way", *sizes))
            print(table_row(*["---"] * (1 + len(sizes))))
        for row, cells in rows.items():
            if any(cells):
                print(table_row(row, *cells))
        for size in sizes:
            if runs := self._all_seeds("scratch", "", size, 0, seeds):
                print(f"scratch, {size}: {with_spread([run['accuracy'][-1] for run in runs])} of {len(runs)} runs")

    def _all_seeds(self, kind: str, row: str, size: str, epochs: int, seeds: int) -> list[dict]:
        found = [self.result(Job(kind, row, size, seed, epochs)) for seed in range(seeds)]
        return [run for run in found if run and run["accuracy"]]

    def _compared(self, row: str, size: str, seeds: int) -> str:
        # what was trained by labels as long as the ancestry, at the ancestry's size, is the ancestry
        same = "weight-selection" if (row, size) == (PRE_FIN, ANCESTRY) else row
        runs = self._all_seeds("tuned", same, size, 1, seeds)
        if not runs:
            return ""
        tuned, untuned = [run["accuracy"][-1] for run in runs], self.accuracy(same).get(size)
        curves = [run["accuracy"] for run in self._all_seeds("scratch", "", size, 0, seeds)]
        scratch = [statistics.mean(values) for values in zip(*curves, strict=True)]
        if row == PRE_FIN and scratch:
            untuned = scratch[-1]
        start = "" if untuned is None else f"{untuned:.1f} → "
        after = statistics.mean(tuned)
        needed = next((epoch for epoch, value in enumerate(scratch, 1) if value >= after), f"> {len(scratch)}")
        return f"{start}{with_spread(tuned)}" + (f" ({needed})" if scratch else "")

    def _report_costs(self) -> None:
        """What all the sizes that are compared store and cost, the ancestry in it, the tuning left out."""
        sizes, ancestry = self.protocol.compared, (ANCESTRY,)
        print(table_row("way", "stored parameters", "epochs", "PFLOP", "seconds"))
        print(table_row(*["---"] * 5))
        before = [measure(PRE_FIN, ancestry) for measure in (self.epochs, self.flops, self.seconds)]
        for row in (*TRAINED, OWN, PRE_FIN, *EXTRACTED):
            gene = self.result(Job("gene", row))
            stored = (
                sum(spec_of(size).num_params for size in sizes) if row in (OWN, PRE_FIN) else gene and gene["params"]
            )
            cost = [measure(row, sizes) for measure in (self.epochs, self.flops, self.seconds)]
            if None in (stored, *cost, *before):
                continue
            if row != PRE_FIN:  # whose sizes nobody teaches
                cost = list(map(sum, zip(cost, before, strict=True)))
            print(table_row(row, f"{stored:,}", cost[0], f"{cost[1] / 1e15:.2f}", f"{cost[2]:,.0f}"))

    def _report_skipped(self) -> None:
        """What each part that is inherited is worth."""
        size = "h4-l6"
        rows = {part: self.result(Job("skipped", part, size, 0, 1)) for part in PARTS}
        whole = self.result(Job("tuned", ABLATED, size, 0, 1))
        if not (whole and all(rows.values())):
            return
        print(table_row(f"{ABLATED}, {size}", "untuned", "1 epoch"))
        print(table_row("---", "---", "---"))
        print(table_row("all", f"{self.accuracy(ABLATED)[size]:.1f}", f"{whole['accuracy'][-1]:.1f}"))
        for part, found in rows.items():
            print(table_row(f"without {part}", f"{found['untuned']:.1f}", f"{found['accuracy'][-1]:.1f}"))

    def _report_rates(self) -> None:
        """Whether the learning rate of a row is fair to it."""
        found = {job: run for job in rates(self.protocol) if (run := self.result(job))}
        if found:
            print(table_row("learning rate", *(f"{lr:g}" for lr in RATES), "ours"))
            print(table_row(*["---"] * (2 + len(RATES))))
        for job, run in found.items():
            used = SCRATCH_LR if job.row == SCRATCH else LR.get(job.row, TUNED_LR)
            name = f"{job.row}, {job.size}, {job.epochs} epoch{'s' * (job.epochs > 1)}"
            print(table_row(name, *(f"{run['accuracy'][f'{lr:g}']:.1f}" for lr in RATES), f"{used:g}"))


def plot_family(rows: dict[str, dict[str, float]], path: Path, title: str) -> None:
    """Accuracy of every size against its parameters, a line for each way."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for (row, found), marker in zip(rows.items(), cycle("osD^vX"), strict=False):
        points = sorted((spec_of(size).num_params, value) for size, value in found.items())
        axes.plot(*zip(*points, strict=True), marker=marker, markersize=5, linewidth=1, label=row)
    axes.set(xlabel="parameters", ylabel="top-1 on CIFAR-10 in %", title=title)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def with_spread(values: list[float], digits: int = 1) -> str:
    """Mean and deviation, where there are several."""
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def spec_of(size: str) -> ViTSpec:
    """The ViT of a size in this study."""
    return ViTSpec.parse(size, **VIT)


def accuracies(runner: Runner) -> list[float]:
    """Top-1 in % after every epoch."""
    return [float(value) for value in runner.message_hub.get_scalar("val/accuracy/top1").data[0]]


def learngene_cfg(way: Way) -> dict:
    """Config of the learngene that a way trains."""
    return {
        **way.student["learngene"],
        **{name: VIT[name] for name in ("head_dim", "patch_size", "img_size", "num_classes")},
    }


def rates(protocol: Protocol) -> list[Job]:
    """Runs at several learning rates."""
    tuned = [Job("rates", row, "h4-l6", 0, 1) for row in (*CLAIMED, PRE_FIN)]
    return [*tuned, Job("rates", SCRATCH, protocol.compared[0], 0, protocol.scratch)]


def jobs(seeds: int, protocol: Protocol = FULL) -> list[Job]:
    """The whole study, what is asked for first coming first."""
    todo = [Job("untuned", row) for row in TITLES if row != OWN]
    todo += [Job("own"), *(Job("cost", size=size) for size in SIZES)]
    todo += [Job("untuned", row) for row in ELASTIC]
    for seed in range(seeds):
        for row in ("lets", "lets-uniform-2x", PRE_FIN, SCRATCH):
            todo += [Job("tuned", row, "h4-l6", seed, epochs) for epochs in (1, 5) if row != SCRATCH]
            todo += [Job("camvid", row, "h4-l6", seed)]
    rows = [*TRAINED, *EXTRACTED]
    todo += [Job("untuned", row) for row in rows]
    for size in protocol.compared:
        todo += [Job("scratch", size=size)]
        todo += [Job("tuned", row, size, 0, 1) for row in (OWN, PRE_FIN, *rows) if (row, size) != (PRE_FIN, ANCESTRY)]
    # what the page claims
    for seed in range(1, seeds):
        todo += [Job("scratch", size=protocol.compared[0], seed=seed)]
        todo += [Job("tuned", row, size, seed, 1) for row in CLAIMED for size in protocol.compared]
    return todo + [Job("skipped", part, "h4-l6", 0, 1) for part in PARTS] + rates(protocol)


def arguments(what: str) -> argparse.ArgumentParser:
    """The command line of a study in this work dir."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of cifar10_jpeg, camvid_half")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/cifar10"), help="where everything goes")
    parser.add_argument("--results", type=Path, help="where the results are (default: results in the work dir)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each where there are several")
    parser.add_argument("--quick", action="store_true", help="a tenth of the images, few epochs: only to see it work")
    parser.add_argument("--only", nargs="+", default=["*"], help="patterns of names of runs")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--figures", type=Path, default=Path("docs/images"), help="where figures go")
    parser.add_argument("--report", action="store_true", help="only make tables and figures of what is finished")
    return parser


def work(kind: type[Study], todo: list[Job], args: argparse.Namespace, protocol: Protocol) -> None:
    """Do the runs that are asked for, and report."""
    results = args.results or args.work_dir / "results"
    study = kind(args.work_dir, args.data, results, protocol)
    if not args.report:
        unpack_cifar10(args.data, args.work_dir / "images")
        chosen = [job for job in todo if any(fnmatch(job.name, pattern) for pattern in args.only)]
        for job, result in study.run(chosen, args.processes):
            print(job.name, result, flush=True)
    study.report(args.seeds, args.figures)


def main() -> None:
    """Run the study."""
    args = arguments(__doc__).parse_args()
    protocol = QUICK if args.quick else FULL
    work(Study, jobs(args.seeds, protocol), args, protocol)


if __name__ == "__main__":
    main()
