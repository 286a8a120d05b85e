"""Evaluate, and perhaps tune, every size of a family: each size a run of mmengine's Runner in a process of its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner

from ...datasets.data_check import check_data
from ...datasets.folders import read_folders, write_list
from ...errors import LearngeneError, in_words
from ...frameworks import find_vit, first_layout, weights_of
from ...io.atomic import save_bytes
from ...io.config_files import read_config
from ...learngenes import Learngene, load
from ...models.timm_classifier import any_classifier_cfg
from ...use.export.expanded import Expanded
from ...use.export.opening import opening
from ...use.export.write import write
from ...vit.spec import ViTSpec
from ..hooks.runner import normalisation_of, unwrapped
from .device import adapt_to_device
from .int8 import int8_metrics
from .launch import end_with, import_yapf
from .prepare import prepare

IMAGENET = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
# what a config says of data and tuning; its model is another one for each size
_TAKEN = (
    "default_scope", "custom_imports", "data_preprocessor", "train_dataloader", "val_dataloader", "val_evaluator",
    "train_cfg", "val_cfg", "optim_wrapper", "param_scheduler", "auto_scale_lr", "env_cfg",
)  # fmt: skip
_IMPORTS = ["mmlearngene.models", "mmlearngene.engine", "mmlearngene.datasets"]


@dataclass(frozen=True)
class Tuning:
    """How sizes are tuned on a folder of images: AdamW, a cosine after a tenth of warm-up, crops and flips.

    Attributes:
        epochs: 0 for none.
        lr: learning rate.
        batch_size: images of a step, and of a test batch.
        workers: processes that load images for each run.
    """

    epochs: int = 0
    lr: float = 1e-4
    batch_size: int = 64
    workers: int = 2


@dataclass(frozen=True)
class ImageSettings:
    """How the images of a folder are read.

    Attributes:
        mean: of each channel, in images scaled to [0, 1]; the learngene's, or ImageNet's, when None.
        std: likewise.
        crop_pct: share of the resized image's side that is cropped from its centre for testing.
    """

    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    crop_pct: float = 0.875


# ---------------------------------------------------------------------- the config that all sizes share


def folder_config(
    root: Path, out: Path, learngene: Learngene, spec: ViTSpec, tuning: Tuning, images: ImageSettings
) -> tuple[Config, list[str]]:
    """The config for a folder of images; lists of the images are written to ``out``.

    Returns:
        The config, and what to say of it.

    Raises:
        LearngeneError: see :func:`mmlearngene.datasets.folders.read_folders`.
    """
    found = read_folders(root, tuning.epochs > 0, learngene.classes)
    norm = _normalisation(learngene, spec, images)
    notes = [found.note] if found.note else []
    if not learngene.preprocessing and not (images.mean and images.std):
        notes.append("images are normalised as ImageNet's, as the learngene does not say how its were: --mean, --std")
    height, width = spec.img_size
    side = round(max(height, width) / images.crop_pct)
    read = dict(type="LoadImageFromFile", color_type="grayscale" if spec.in_channels == 1 else "color")
    resize = dict(backend="pillow", interpolation="bicubic") if spec.in_channels == 3 else {}

    def loader(name: str, pipeline: list[dict], shuffle: bool) -> dict:
        dataset = dict(type="CustomDataset", data_root=str(root.resolve()), ann_file=str((out / name).resolve()))
        dataset |= dict(metainfo=dict(classes=found.classes), pipeline=[read, *pipeline, dict(type="PackInputs")])
        return dict(
            batch_size=tuning.batch_size,
            num_workers=tuning.workers,
            persistent_workers=tuning.workers > 0,
            dataset=dataset,
            sampler=dict(type="DefaultSampler", shuffle=shuffle),
        )

    write_list(out / "val.txt", found.val, root)
    tested = [
        dict(type="ResizeEdge", scale=side, edge="short", **resize),
        dict(type="CenterCrop", crop_size=(height, width)),
    ]
    cfg = dict(
        default_scope="mmpretrain",
        preprocessing={**norm, "interpolation": "bicubic", "crop_pct": images.crop_pct, "crop_mode": "center"},
        data_preprocessor=dict(
            num_classes=len(found.classes),
            mean=[255 * value for value in norm["mean"]],
            std=[255 * value for value in norm["std"]],
            to_rgb=spec.in_channels == 3,
        ),
        val_dataloader=loader("val.txt", tested, False),
        val_evaluator=dict(type="Accuracy", topk=(1,)),
        val_cfg=dict(),
    )
    if tuning.epochs:
        write_list(out / "train.txt", found.train, root)
        tuned = [
            dict(type="RandomResizedCrop", scale=(height, width), crop_ratio_range=(0.35, 1.0), **resize),
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
        ]
        cfg |= dict(train_dataloader=loader("train.txt", tuned, True), **_schedule(tuning))
    return with_imports(Config(cfg)), notes


def _normalisation(learngene: Learngene, spec: ViTSpec, images: ImageSettings) -> dict[str, list[float]]:
    """Mean and deviation of each channel: what is asked for, else what the learngene says, else ImageNet's."""
    usual = IMAGENET if spec.in_channels == 3 else {name: [sum(each) / 3] for name, each in IMAGENET.items()}
    known = learngene.preprocessing or usual
    norm = {name: list(getattr(images, name) or known[name]) for name in ("mean", "std")}
    if any(len(values) not in (1, spec.in_channels) for values in norm.values()):
        raise LearngeneError(f"--mean and --std: expected {spec.in_channels} numbers, one for each channel, not {norm}")
    return norm


def _schedule(tuning: Tuning) -> dict:
    """The entries of a config that say how long and how a size is tuned."""
    warm_up = max(1, tuning.epochs // 10) if tuning.epochs > 1 else 0
    cosine = dict(type="CosineAnnealingLR", by_epoch=True, begin=warm_up, convert_to_iter_based=True)
    linear = dict(type="LinearLR", start_factor=0.05, by_epoch=True, end=warm_up, convert_to_iter_based=True)
    return dict(
        train_cfg=dict(by_epoch=True, max_epochs=tuning.epochs),
        optim_wrapper=dict(
            type="OptimWrapper",
            optimizer=dict(type="AdamW", lr=tuning.lr, weight_decay=0.05),
            paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
            clip_grad=dict(max_norm=1.0),
        ),
        param_scheduler=[*([linear] if warm_up else []), cosine],
    )


def with_imports(cfg: Config) -> Config:
    """The config, with imports of all that a size's run needs; it can be printed."""
    import_yapf()
    own = (cfg.get("custom_imports") or {}).get("imports") or []
    own = [own] if isinstance(own, str) else list(own)
    cfg.custom_imports = dict(imports=list(dict.fromkeys([*own, *_IMPORTS])), allow_failed_imports=False)
    return cfg


def taken_config(path: Path, epochs: int) -> Config:
    """What a config says of data and tuning.

    Raises:
        LearngeneError: it has no data to evaluate on, or nothing to tune with.
    """
    cfg = read_config(path)
    needed = ["val_dataloader", "val_evaluator"]
    needed += ["train_dataloader", "optim_wrapper", "train_cfg"] if epochs else []
    if missing := [name for name in needed if not cfg.get(name)]:
        raise LearngeneError(f"{path} has no {missing[0]}; expected a config of mmpretrain's classification")
    if epochs and "max_epochs" not in cfg.train_cfg:
        raise LearngeneError(f"{path}: train_cfg has no max_epochs; expected a config that counts epochs")
    taken = {name: cfg[name] for name in _TAKEN if cfg.get(name) is not None}
    model = cfg.get("model") or {}
    if str(model.get("type")).endswith("ImageClassifier"):
        taken["tuned_model"] = dict(
            head={"loss": model.head.loss} if "loss" in (model.get("head") or {}) else None,
            train_cfg=model.get("train_cfg"),
        )
    return with_imports(Config(taken))


def check_images(cfg: Config, spec: ViTSpec, source: object) -> tuple[list[str], int]:
    """Look at the data before any size is run.

    Returns:
        The names of the classes, by number where there are none, and the number of test images.

    Raises:
        LearngeneError: files are missing, classes are not known, or images have another size than the descendants.
    """
    init_default_scope(cfg.get("default_scope", "mmpretrain"))
    check_data(cfg, loaders=tuple(name for name in ("train_dataloader", "val_dataloader") if cfg.get(name)))
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    try:
        shape = tuple(dataset[0]["inputs"].shape)
    except Exception as error:  # of others' code, on others' files
        raise LearngeneError(f"the first test image of {source} cannot be read ({in_words(error)})") from error
    if shape != (spec.in_channels, *spec.img_size):
        raise LearngeneError(
            f"{source} gives images of {shape}, the descendants take {(spec.in_channels, *spec.img_size)}; expected "
            f"--img-size {shape[-1]}, or another pipeline"
        )
    classes = dataset.metainfo.get("classes") or (cfg.get("data_preprocessor") or {}).get("num_classes")
    if not classes:
        raise LearngeneError(f"{source} does not say its classes; expected metainfo.classes in its val_dataloader")
    return list(map(str, range(classes) if isinstance(classes, int) else classes)), len(dataset)


def tuning_of(cfg: Config, epochs: int) -> str:
    """How much each size is tuned, in words."""
    images, batch = len(DATASETS.build(cfg.train_dataloader.dataset)), cfg.train_dataloader.batch_size
    steps = epochs * -(-images // batch)
    return f"each size is tuned for {steps:,} steps: {epochs} x {images:,} images, {batch} a step"


# ---------------------------------------------------------------------- one size


class _Recorder(Hook):
    """Keeps what each validation measures."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.metrics: list[dict[str, float]] = []

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.metrics.append({name: float(value) for name, value in metrics.items()})


class _Progress(Hook):
    """Tells which share of its steps a size has done; of its test images where it is not tuned."""

    def __init__(self, tell: Callable[[float], None]) -> None:
        self.tell, self.told = tell, 0.0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._tell((runner.iter + 1) / runner.max_iters)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not runner.cfg.get("train_cfg"):
            self._tell((batch_idx + 1) / len(runner.val_dataloader))

    def _tell(self, share: float) -> None:
        if share >= self.told + 0.005:
            self.told = share
            self.tell(share)


def run_size(
    config: str, gene: str, fields: dict, epochs: int, folder: str, tell: Callable[[float], None] | None = None
) -> dict:
    """Initialise one size from the learngene, evaluate it, tune it if asked, and evaluate it again.

    What is inherited has a score before tuning; where the head starts fresh, as for other classes, it would only guess.

    Args:
        config: the config that all sizes share.
        gene: the learngene file.
        fields: the size's spec.
        epochs: of tuning.
        folder: where logs go, to ``runs``, and tuned weights, to ``weights``.
        tell: called with the share of the work that is done, now and then.

    Returns:
        ``untuned`` (None where the head starts fresh) and ``tuned`` (None without tuning): the metrics; ``int8``: those
        of the last weights in int8 (None unless the config asks for them); ``inherited``: share of the backbone;
        ``seconds``; ``open``: Python that opens the tuned weights.
    """
    start, spec = time.time(), ViTSpec.parse(fields)
    learngene = load(gene) if epochs else None
    is_scored = not epochs or spec.num_classes == learngene.aux_spec.num_classes
    cfg = Config.fromfile(config)
    in_int8 = cfg.pop("int8", False)
    tuned_model, preprocessing = cfg.pop("tuned_model", None) or {}, cfg.pop("preprocessing", None)
    cfg.model = any_classifier_cfg(spec, **tuned_model, init_cfg=dict(type="Learngene", checkpoint=gene))
    cfg.work_dir = str(Path(folder, "runs", str(spec)))
    cfg.experiment_name = str(spec)
    cfg.randomness = dict(seed=0)
    cfg.default_hooks = dict(checkpoint=None)  # a size is run as a whole
    cfg.custom_hooks = []
    if epochs:
        cfg.train_cfg.max_epochs = epochs
        cfg.train_cfg.val_interval = epochs
        prepare(cfg, look=False)  # the images have been looked at for all sizes
        cfg.custom_hooks = [dict(type="mmlearngene.InitialValHook")] if is_scored else []
    else:
        for name in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler", "auto_scale_lr"):
            cfg.pop(name, None)
    runner = Runner.from_cfg(adapt_to_device(cfg))
    recorder, opened = _Recorder(), ""
    runner.register_hook(recorder)
    if tell:
        runner.register_hook(_Progress(tell))
    if epochs:
        runner.train()
        expanded = _tuned(runner, learngene, Path(gene).name, epochs, preprocessing)
        file = Path(folder, "weights", f"{spec}.safetensors")
        write(expanded, file)
        opened = opening(expanded, file)
    else:
        unwrapped(runner).init_weights()  # which only a training would do
        runner.val()
    return {
        "untuned": recorder.metrics[0] if is_scored else None,
        "tuned": recorder.metrics[-1] if epochs else None,
        "int8": int8_metrics(runner) if in_int8 else None,
        "inherited": unwrapped(runner).load_report.share,
        "seconds": round(time.time() - start, 1),
        "open": opened,
    }


def _tuned(runner: Runner, learngene: Learngene, name: str, epochs: int, preprocessing: dict | None) -> Expanded:
    """The tuned weights of a size, as ``mmlearngene expand`` has untuned ones."""
    model = unwrapped(runner).cpu()
    told = dict(preprocessing) if preprocessing else normalisation_of(model)
    weights = weights_of(find_vit(model), model)
    learngene.classes = runner.val_dataloader.dataset.metainfo.get("classes")
    learngene.provenance = {**learngene.provenance, "preprocessing": told}  # what it was tuned with
    tuned = f"{epochs} epoch{'s' * (epochs > 1)}"
    return Expanded(learngene, name, weights, first_layout(weights.spec), tuned=tuned)


# ---------------------------------------------------------------------- all sizes


def run_sizes(
    sizes: Sequence[ViTSpec], config: Path, gene: Path, epochs: int, folder: Path, jobs: int
) -> Iterator[tuple[ViTSpec, dict | Exception | float]]:
    """Run sizes in processes of their own, each on a GPU of its own where there are any.

    Yields a size with the share of it that is done, again and again, and then with its result. What is finished is kept
    in ``folder/sizes``, one JSON file a size. A sweep that is stopped and goes on with as many ``jobs`` ends with the
    same weights, byte by byte.

    Raises:
        LearngeneError: a process was killed.
    """
    context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
    places, shares = context.Queue(), context.Queue()
    for place in range(jobs):
        places.put(place)
    # by what was asked for, not by how many sizes are left: sums over other numbers of threads round otherwise
    threads, others = max(1, (os.cpu_count() or 1) // jobs), set(multiprocessing.active_children())
    workers, started = min(jobs, len(sizes)), dict(initializer=_start, initargs=(places, shares, threads))
    with ProcessPoolExecutor(workers, mp_context=context, **started) as pool:
        futures = {
            pool.submit(_run_size, number, str(config), str(gene), spec.asdict(), epochs, str(folder)): spec
            for number, spec in enumerate(sizes)
        }
        waiting = set(futures)
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                while not shares.empty():
                    number, share = shares.get()
                    yield sizes[number], share
                for future in done:
                    spec, error = futures[future], future.exception()
                    if isinstance(error, BrokenProcessPool):
                        raise LearngeneError(
                            f"a process was killed while sizes were run, as happens where memory is short; those in "
                            f"{folder / 'sizes'} are kept. What to do: start again, with fewer --jobs"
                        ) from error
                    if error is None:
                        save_bytes(size_file(folder, spec), json.dumps(future.result(), indent=1).encode())
                    yield spec, error or future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:  # a size under way is not waited for
                process.terminate()
                process.join()
            raise


def size_file(folder: Path, spec: ViTSpec) -> Path:
    """Where the result of a size is kept."""
    return folder / "sizes" / f"{spec}.json"


def _run_size(number: int, *arguments) -> dict:
    """:func:`run_size` in a process of the pool, which tells how far it is under the size's number."""
    return run_size(*arguments, tell=lambda share: _shares.put((number, share)))


def _start(places, shares, threads: int) -> None:
    """Take a GPU of one's own, keep quiet, as runs log to their own folders, and end with Ctrl-C or with the sweep."""
    end_with(os.getppid())
    global _shares
    _shares = shares
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if count := torch.cuda.device_count():
        torch.cuda.set_device(places.get() % count)
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore")
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (for as long as the process lives)
