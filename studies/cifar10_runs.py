"""The runs of the study on CIFAR-10 (cifar10.py): what there is to run, and how each is run.

A run is one method of :class:`Study`; what it needs is done before it. Every run leaves a line in the file of the
results; what is finished is not done again, and what was interrupted is resumed.
"""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

os.environ.setdefault("OMP_NUM_THREADS", "1")
warnings.filterwarnings("ignore")

import torch  # noqa: E402
from common import Results, step_seconds, train  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.model import ModuleDict  # noqa: E402  (which initialises what is in it)
from mmengine.runner import Runner  # noqa: E402

from mmlearngene import LearngeneError, extract  # noqa: E402
from mmlearngene.engine.run.device import adapt_to_device  # noqa: E402
from mmlearngene.engine.run.launch import take_share  # noqa: E402
from mmlearngene.frameworks.mmpretrain import classifier_cfg  # noqa: E402
from mmlearngene.io.paths import SUFFIX  # noqa: E402
from mmlearngene.learngenes import load  # noqa: E402
from mmlearngene.learngenes.facts.cluster import ORDERS  # noqa: E402
from mmlearngene.learngenes.facts.lets import SELECTIONS  # noqa: E402
from mmlearngene.models import LearngeneDistiller  # noqa: E402
from mmlearngene.recipes import upernet  # noqa: E402
from mmlearngene.registry import MODELS  # noqa: E402
from mmlearngene.use.tokens import token_model  # noqa: E402
from mmlearngene.vit.spec import ViTSpec  # noqa: E402
from mmlearngene.vit.weights import PARTS  # noqa: E402

CONFIGS = Path("configs/study")
VIT = dict(head_dim=16, patch_size=8, img_size=32, num_classes=10, class_token=False, pool="avg_norm")
ANCESTRY = "h6-l8"
IMAGES, TEST_IMAGES, BATCH = 50_000, 10_000, 128
SIZES = tuple(f"h{heads}-l{layers}" for heads in (3, 4, 5, 6) for layers in (4, 6, 8))
COMPARED = ("h3-l4", "h4-l6", "h5-l6", "h6-l4", "h6-l6", "h6-l8")  # three narrower than the ancestry, three as wide
LETS = dict(type="mmlearngene.LeTs", learngene="h3-l4", aux=ANCESTRY, groups=2, rows=2, repeats=2)
TLEG = dict(type="mmlearngene.TLEG", aux=ANCESTRY)
SWS = dict(type="mmlearngene.SWS", aux=ANCESTRY, stages=[2, 2, 2, 2])
RANGE = dict(heads=[3, 6], layers=[4, 8])


@dataclass(frozen=True)
class Way:
    """A learngene trained in its Aux-Net.

    Attributes:
        student: overrides of the Aux-Net.
        factor: how many times the usual epochs.
        alpha: the teacher's share of the loss.
        start: a row of ``TAKEN`` whose weights it starts with.
        trained: a row of ``TAKEN`` that is the learngene itself, trained on.
    """

    student: dict
    factor: float = 1
    alpha: float = 1.0
    start: str = ""
    trained: str = ""


UNIFORM = dict(type="mmlearngene.UniformSizes", **RANGE)
DEPTHS = dict(type="mmlearngene.UniformSizes", layers=RANGE["layers"])
SANDWICH = dict(type="mmlearngene.SandwichSizes", count=1, smallest=False, **RANGE)
TRAINED = {
    "lets": Way(dict(learngene=LETS)),
    "lets-2x": Way(dict(learngene=LETS), factor=2),
    "lets-uniform": Way(dict(learngene=LETS, sizes=UNIFORM)),
    "lets-uniform-2x": Way(dict(learngene=LETS, sizes=UNIFORM), factor=2),
    # what each size trained on its own has more: one thing changed at a time
    "lets-uniform-3x": Way(dict(learngene=LETS, sizes=UNIFORM), factor=3),
    "lets-labels": Way(dict(learngene=LETS, sizes=UNIFORM), factor=3, alpha=0.5),
    # beginning with weights of the ancestry
    "lets-started": Way(dict(learngene=LETS, sizes=UNIFORM), start="weight-selection"),
    "lets-started-3x": Way(dict(learngene=LETS, sizes=UNIFORM), factor=3, start="weight-selection"),
    "lets-principal": Way(dict(learngene=LETS, sizes=UNIFORM), start="principal"),
    # nested sub-networks, whose tensors are the largest's: in principal coordinates, and in the ancestry's channels
    **{
        f"{row}-elastic{times}": Way(dict(sizes=UNIFORM), factor=factor, trained=row)
        for row in ("principal", "channels")
        for times, factor in (("-half", 0.5), ("", 1))
    },
    "lets-sandwich": Way(dict(learngene=LETS, sizes=SANDWICH)),
    "lets-in-place": Way(dict(learngene=LETS, sizes=SANDWICH, in_place=dict(share=0.5, reduction="batchmean"))),
    "tleg": Way(dict(learngene=TLEG)),
    "tleg-uniform-2x": Way(dict(learngene=TLEG, sizes=DEPTHS), factor=2),
    "sws": Way(dict(learngene=SWS)),
    "sws-uniform-2x": Way(dict(learngene=SWS, sizes=DEPTHS), factor=2),
}


ABLATED = "lets-uniform-3x"
SEEDED = (ABLATED, "lets-started-3x")  # a seed is that of the learngene too, elsewhere that of its tuning alone
CLAIMED = (*SEEDED, "weight-selection")  # of which there are several seeds at every size
ELASTIC = tuple(way for way in TRAINED if way.startswith(("lets", "principal", "channels")))
# a training for each size: distilled (from two starts), by labels, and none before tuning
OWN, OWN_STARTED, PRE_FIN, SCRATCH = "own", "own-started", "pre-fin", "scratch"
OWNS = {OWN: "", OWN_STARTED: "weight-selection"}  # of which the second starts with weights of the ancestry
STARTS = {row: way.start or way.trained for row, way in TRAINED.items()} | OWNS


@dataclass(frozen=True)
class Taken:
    """A learngene taken out of the ancestry: its method, and the options of the extraction."""

    method: str
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Expanded:
    """The learngene of another row, expanded with options; ``skip`` is one."""

    row: str
    options: dict


_MERGED = dict(num_images=500, eps=0.4)  # half of some layers' heads stay
_RUNS = dict(num_images=500, eps=1.0, equal_counts=False)  # runs of layers share an FFN
CONTROLS = ("first-k", "uniform-k", "weight-selection", "front", "heuristic", "auto-learngene", "mimetic")
TAKEN = {
    "cluster": Taken("cluster", dict(num_images=500, eps=0.05)),
    "cluster-merged": Taken("cluster", _MERGED),
    "cluster-average": Taken("cluster", {**_MERGED, "centroid": "average"}),
    "cluster-runs": Taken("cluster", _RUNS),
    "cluster-runs-average": Taken("cluster", {**_RUNS, "ffn_centroid": "average"}),
    "peg-uniform": Taken("peg", dict(sampling="uniform")),
    **{method: Taken(method) for method in ("peg", *CONTROLS)},
    "principal": Taken("principal", dict(num_images=1000)),
    "principal-bare": Taken("principal", dict(num_images=1000, refitted=False)),
    "channels": Taken("principal", dict(basis="channels")),
    # for the wider range of grid_cifar10.py: refitted for every width, and for every second one
    "principal-widths": Taken("principal", dict(num_images=1000, widths=[1, 2, 3, 4, 5])),
    "principal-odd": Taken("principal", dict(num_images=1000, widths=[1, 3, 5])),
}
EXPANDED = {
    "weight-selection-row": Expanded("weight-selection", dict(unit="row")),
    **{f"cluster-{order}": Expanded("cluster-merged", dict(order=order)) for order in ORDERS if order != "priority"},
    "peg-heads": Expanded("peg", dict(skip="mlp")),
    "peg-ffns": Expanded("peg", dict(skip="msa")),
    **{f"lets-{choice}": Expanded("lets", dict(selection=choice)) for choice in SELECTIONS if choice != "continuous"},
}
EXTRACTED = (  # that are tuned at every size
    "principal", "principal-bare", "channels", "cluster", "cluster-merged", "peg", "weight-selection-row", *CONTROLS
)  # fmt: skip
HEADS = ("h3,3,3,3,3,3,3,3-l8", "h3,3,4,4,6,6-l6", "h6,6,4,4,3,3-l6")  # fewer heads, at the ancestry's width
FEWER_HEADS = ("cluster", "cluster-merged", "peg", "weight-selection", SCRATCH)  # which have such sizes
_CLUSTER = tuple(row for row in (*TAKEN, *EXPANDED) if row.startswith("cluster"))
SETTINGS = {  # of the papers' ablations, those that take no training, by the size that they are tried at
    "h6-l6": (*_CLUSTER, "peg", "peg-uniform", "peg-heads", "peg-ffns"),
    HEADS[0]: ("cluster-merged", *(row for row in EXPANDED if row.startswith("cluster"))),
    "h4-l6": ("lets", *(row for row in EXPANDED if row.startswith("lets"))),
}
SCRATCH_LR = 2e-3  # also of every distillation
TUNED_LR = 5e-4  # of what was trained for its place; what was taken out of the ancestry takes more
SHARES = (25, 50, 100)  # in %
RATES = (5e-4, 1e-3, 2e-3, 4e-3)  # whether another one would have been better


@dataclass(frozen=True)
class Protocol:
    """How long everything takes.

    Attributes:
        scratch: epochs of a size that is trained by labels from the start, of which the ancestry is one.
        epochs: of every distillation.
        iterations: on CamVid.
        every: one image in so many is used, for training and for tests.
        compared: sizes that every way is tuned at.
        heads: sizes with fewer heads, as wide as the ancestry.
    """

    scratch: int = 12
    epochs: int = 6
    iterations: int = 600
    every: int = 1
    compared: tuple[str, ...] = COMPARED
    heads: tuple[str, ...] = HEADS


FULL = Protocol()
QUICK = Protocol(scratch=4, epochs=2, iterations=30, every=20, compared=("h4-l6", "h6-l8"), heads=HEADS[:1])


@dataclass(frozen=True)
class Job:
    """One run: a method of :class:`Study`, and its arguments."""

    kind: str
    row: str = ""
    size: str = ""
    seed: int = 0
    epochs: int = 0
    share: int = 100  # of the training images, in %

    @property
    def name(self) -> str:
        """Also the name of its result and its folder."""
        epochs, share = f"e{self.epochs}" if self.epochs else "", f"p{self.share}" if self.share < 100 else ""
        return "_".join([self.kind, *filter(None, (self.row, self.size, epochs, share, f"s{self.seed}"))])


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
        self.students = ModuleDict({name: MODELS.build(cfg) for name, cfg in students.items()})

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
        results: the file of the results.
        protocol: how long everything takes.
        ways: the learngenes that are trained.
    """

    root: Path
    data: Path
    results: Results
    protocol: Protocol = FULL
    ways: ClassVar[dict[str, Way]] = TRAINED

    # ------------------------------------------------------------------ runs and their results

    def result(self, job: Job) -> dict | None:
        """What a run came to, if it is finished."""
        return self.results.get(job.name)

    def products(self, job: Job) -> list[Path]:
        """Files that a run leaves for others."""
        rows = {"gene": (job.row, [""]), "own": (job.row or OWN, SIZES), "scratch": (PRE_FIN, [job.size])}
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
            self.results.add(job.name, getattr(self, job.kind)(job))
        return self.result(job)

    def needs(self, job: Job) -> list[Job]:
        """What has to be done before a run."""
        if SCRATCH in (job.kind, job.row) or (job.kind == "cost" and job.size):
            return []
        if job.kind == "skipped":
            return [Job("gene", ABLATED)]
        if job.kind in ("gene", "cost", "own") and STARTS.get(job.row):
            return [PRETRAINED, Job("gene", STARTS[job.row])]
        if job.kind not in ("untuned", "tuned", "rates", "camvid"):
            return [PRETRAINED]
        seed = self.source_seed(job)
        if job.row in OWNS:
            return [own_job(job.row, seed)]
        if job.row == PRE_FIN:
            return [Job("scratch", size=job.size, seed=seed)]
        return [Job("gene", learngene_of(job.row), seed=seed)]

    @staticmethod
    def source_seed(job: Job) -> int:
        """Seed of what a run starts from: several tunings start from one learngene, but of ``SEEDED``."""
        return job.seed if job.kind == "untuned" or job.row in SEEDED else 0

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
            self._write_configs(cfg)
        runner, _ = train(cfg, self.root / job.name)
        checkpoint = self._checkpoint(job.name, epochs)
        extract("pre-fin", checkpoint, like=spec_of(job.size)).save(self.gene_file(PRE_FIN, job.size, job.seed))
        params = sum(parameter.numel() for parameter in runner.model.parameters())
        return dict(accuracy=accuracies(runner), epochs=epochs, step_seconds=step_seconds(runner), params=params)

    def gene(self, job: Job) -> dict:
        """Train a learngene in its Aux-Net, or take it out of the ancestry."""
        target = self.gene_file(job.row, "", job.seed)
        if job.row in TAKEN:
            taken = TAKEN[job.row]
            looks = taken.method == "cluster" or (taken.method == "principal" and "basis" not in taken.options)
            images = dict(data=str(self.root / "training_images.py")) if looks else {}
            learngene = extract(taken.method, self.ancestry_file, like=spec_of(ANCESTRY), **images, **taken.options)
            learngene.save(target)
            return dict(params=learngene.stored_params()["total"], epochs=0, step_seconds=0.0)
        way = self.ways[job.row]
        epochs = int(way.factor * self.protocol.epochs)
        cfg = self._config(epochs, seed=job.seed)
        cfg.model = self._aux_net(way)
        cfg.custom_hooks = [dict(type="mmlearngene.LearngeneExportHook")]
        runner, metrics = train(cfg, self.root / job.name)
        written = self._checkpoint(job.name, epochs).with_suffix(SUFFIX)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(written.read_bytes())
        params = runner.model.student.learngene.stored_params()["total"]
        return dict(params=params, epochs=epochs, step_seconds=step_seconds(runner), aux=metrics["accuracy/top1"])

    def own(self, job: Job) -> dict:
        """Distil every size on its own, from the same teacher for the same epochs."""
        epochs, row = self.protocol.epochs, job.row or OWN
        cfg = self._config(epochs, seed=job.seed)
        cfg.model = self._side_by_side(OWNS[row])
        runner, _ = train(cfg, self.root / job.name)
        accuracy = {}
        for size, student in runner.model.students.items():
            file = self.root / job.name / f"{size}.pth"
            torch.save(student.state_dict(), file)
            extract("pre-fin", file, like=spec_of(size)).save(self.gene_file(row, size, job.seed))
            accuracy[size] = self._accuracy(row, size, job.seed)
        return dict(accuracy=accuracy, epochs=epochs, step_seconds=step_seconds(runner))

    def cost(self, job: Job) -> dict:
        """Processor time of a step: of a learngene, of all sizes on their own, or of a size that learns from labels."""
        cfg = self._config(1, seed=job.seed)
        if job.row in TRAINED:
            cfg.model = self._aux_net(TRAINED[job.row])
        else:
            cfg.model = self._classifier(job.size) if job.size else self._side_by_side()
        steps = max(1, min(60, self.steps // 4))  # few where only a look is wanted
        cfg.train_dataloader.dataset.indices = steps * cfg.train_dataloader.batch_size
        runner, _ = train(cfg, self.root / job.name)
        return dict(step_seconds=step_seconds(runner))

    def untuned(self, job: Job) -> dict:
        """Test a size as it is, or all of the study that the learngene expands to."""
        sizes = [size for size in ([job.size] if job.size else SIZES) if self._expands(job.row, size, job.seed)]
        return dict(accuracy={size: self._accuracy(job.row, size, job.seed) for size in sizes})

    def tuned(self, job: Job) -> dict:
        """Train a descendant by labels; its accuracy after every epoch. None where the learngene has no such size.

        With a share of the images an epoch is as much shorter.
        """
        made_for_size = job.row in (*OWNS, PRE_FIN, SCRATCH)
        if not made_for_size and not self._expands(job.row, job.size, self.source_seed(job)):
            return dict(accuracy=None)
        start = self._start(job.row, job.size, self.source_seed(job))
        return self._tune(job, start, rate(job.row))

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
        return self.steps_of(1.0)

    def steps_of(self, share: float) -> int:
        """Steps of an epoch with a share of the images."""
        return math.ceil(share * IMAGES / self.protocol.every / BATCH)

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
        return self.gene_file(learngene_of(row), size if row in (*OWNS, PRE_FIN) else "", seed)

    def _start(self, row: str, size: str, seed: int) -> dict | None:
        """The ``init_cfg`` of a descendant."""
        if row == SCRATCH:
            return None
        options = EXPANDED[row].options if row in EXPANDED else {}
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
        warmup = 1.0 if start is None else 0.1
        cfg = self._config(job.epochs, lr=lr, seed=job.seed, warmup=warmup, share=job.share / 100)
        cfg.model = self._classifier(job.size, init_cfg=start)
        runner, _ = train(cfg, self.root / f"{job.name}{folder}")
        return dict(accuracy=accuracies(runner), step_seconds=step_seconds(runner))

    def _config(
        self, epochs: int, lr: float = SCRATCH_LR, seed: int = 0, warmup: float = 1.0, share: float = 1.0
    ) -> Config:
        """Data, schedule and runtime on CIFAR-10: epochs of warm-up, half of the run at the most, then a cosine."""
        cfg = Config.fromfile(CONFIGS / "camvid_cifar10.py")
        for split, loader in (("train", cfg.train_dataloader), ("test", cfg.val_dataloader)):
            loader.dataset.update(type="PackedImages", data_root=str(self.root / "images" / split))
            loader.dataset.pipeline = loader.dataset.pipeline[1:]  # they are decoded
        cfg.train_dataloader.batch_size = BATCH
        if self.protocol.every > 1:
            cfg.train_dataloader.dataset.indices = list(range(0, IMAGES, self.protocol.every))
            cfg.val_dataloader.dataset.indices = list(range(0, TEST_IMAGES, self.protocol.every))
        cfg.merge_from_dict(dict(train_share=share, train_share_seed=seed))
        take_share(cfg)
        steps = self.steps_of(share)
        cfg.optim_wrapper.optimizer.update(lr=lr, fused=True)
        cfg.optim_wrapper.clip_grad = None  # one norm over all sizes would tie those that train side by side
        warmup = max(1, min(int(warmup * steps), epochs * steps // 2))
        cfg.param_scheduler = [
            dict(type="LinearLR", start_factor=0.05, by_epoch=False, end=warmup),
            dict(type="CosineAnnealingLR", eta_min=1e-5, by_epoch=False, begin=warmup, end=epochs * steps),
        ]
        cfg.train_cfg.max_epochs = epochs
        cfg.randomness.seed = seed
        return cfg

    def _write_configs(self, cfg: Config) -> None:
        """The config of the ancestry, which is a teacher too, and the images that extractions look at."""
        cfg.dump(self.root / "ancestry.py")
        seen = copy.deepcopy(cfg)
        seen.val_dataloader.dataset.update(data_root=cfg.train_dataloader.dataset.data_root)
        seen.dump(self.root / "training_images.py")

    def _classifier(self, size: str, **overrides) -> dict:
        return classifier_cfg(spec_of(size), **overrides)

    def _aux_net(self, way: Way) -> dict:
        learngene = {} if way.trained else learngene_cfg(way)
        if way.trained:
            learngene = dict(type="mmlearngene.LoadLearngene", path=str(self._gene_of(way.trained, "", 0)))
        student = dict(type="mmlearngene.AuxNet", **{**way.student, "learngene": learngene})
        if way.start:
            student["init_cfg"] = self._start(way.start, "", 0)
        return self._distiller(student=student, alpha=way.alpha)

    def _side_by_side(self, start: str = "") -> dict:
        given = dict(init_cfg=self._start(start, "", 0)) if start else {}
        students = {size: self._classifier(size, **given) for size in SIZES}
        return self._distiller(type="mmlearngene.SideBySide", students=students)

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
            load(self._gene_of(row, size, seed)).target(spec_of(size))
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


def spec_of(size: str) -> ViTSpec:
    """The ViT of a size in this study; one with a number of heads for each layer is as wide as the ancestry."""
    width = dict(embed_dims=spec_of(ANCESTRY).embed_dims) if "," in size else {}
    return ViTSpec.parse(size, **VIT, **width)


def accuracies(runner: Runner) -> list[float]:
    """Top-1 in % after every epoch."""
    return [float(value) for value in runner.message_hub.get_scalar("val/accuracy/top1").data[0]]


def learngene_cfg(way: Way) -> dict:
    """Config of the learngene that a way trains."""
    return {
        **way.student["learngene"],
        **{name: VIT[name] for name in ("head_dim", "patch_size", "img_size", "num_classes")},
    }


def own_job(row: str, seed: int) -> Job:
    """The run of a row of ``OWNS``."""
    return Job("own", "" if row == OWN else row, seed=seed)


def learngene_of(row: str) -> str:
    """The row whose learngene a row is expanded from."""
    return EXPANDED[row].row if row in EXPANDED else row


def rate(row: str) -> float:
    """The learning rate of a row's tuning."""
    row = learngene_of(row)
    return SCRATCH_LR if row == SCRATCH else 1e-3 if row in TAKEN else TUNED_LR


def rates(protocol: Protocol) -> list[Job]:
    """Runs at several learning rates."""
    tuned = [Job("rates", row, "h4-l6", 0, 1) for row in (OWN, "weight-selection", "front", "mimetic")]
    return [*tuned, Job("rates", SCRATCH, protocol.compared[0], 0, protocol.scratch)]


def costs() -> list[Job]:
    """Runs that measure what a step costs."""
    return [*(Job("cost", row) for row in (*TRAINED, OWN)), *(Job("cost", size=size) for size in SIZES)]


def jobs(seeds: int, protocol: Protocol = FULL) -> list[Job]:
    """The whole study, what is asked for first coming first."""
    todo = [Job("untuned", row) for row in ("lets-uniform-3x", "lets-uniform-2x", "lets-uniform", "lets")]
    todo += [*(own_job(row, 0) for row in OWNS), *costs()]
    todo += [Job("untuned", row) for row in ELASTIC]
    for seed in range(seeds):
        for row in ("lets", "lets-uniform-2x", PRE_FIN, SCRATCH):
            todo += [Job("tuned", row, "h4-l6", seed, epochs) for epochs in (1, 5) if row != SCRATCH]
            todo += [Job("camvid", row, "h4-l6", seed)]
    todo += [Job("untuned", row) for row in (*TRAINED, *EXTRACTED)]
    rows = ["lets", *SEEDED, *(row for row in TRAINED if row not in ELASTIC), *EXTRACTED]
    for size in protocol.compared:
        todo += [Job("scratch", size=size)]
        todo += [Job("tuned", row, size, 0, 1) for row in (OWN, PRE_FIN, *rows, SCRATCH)]
        # for what an elastic training costs
        todo += [Job("tuned", row, size, 0, epochs) for row, epochs in (("weight-selection", 3), ("lets-started", 2))]
    for seed in range(seeds):
        todo += [Job("tuned", row, "h4-l6", seed, 5, share) for row in (SCRATCH, *CLAIMED) for share in SHARES]
    tried = [(row, size) for size, rows in SETTINGS.items() for row in rows]
    for row, size in [*tried, *((row, size) for size in protocol.heads for row in FEWER_HEADS)]:
        if row != SCRATCH:
            todo.append(Job("untuned", row, size))
        todo.append(Job("tuned", row, size, 0, 1))
    # what the page claims
    for seed in range(1, seeds):
        todo += [Job("untuned", row, seed=seed) for row in (*SEEDED, "lets-started")]
        todo += [own_job(row, seed) for row in OWNS]
        todo += [Job("scratch", size=protocol.compared[0], seed=seed)]
        todo += [Job("tuned", row, size, seed, 1) for row in (*CLAIMED, PRE_FIN) for size in protocol.compared]
    return todo + [Job("skipped", part, "h4-l6", 0, 1) for part in PARTS] + rates(protocol)
