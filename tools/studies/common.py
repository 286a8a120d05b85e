"""What the studies share: images, a stopwatch for training steps, runs that resume, results never half written."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path

from mmcv import imread
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from mmlearngene import LearngeneError
from mmlearngene.engine.run.device import adapt_to_device
from mmlearngene.engine.run.prepare import prepare

STEP_SECONDS = "train/step_seconds"


def unpack_cifar10(data: Path, target: Path) -> None:
    """Write the JPEG pack of CIFAR-10 in ``data`` as class folders, which mmpretrain's CustomDataset reads.

    Raises:
        LearngeneError: the pack is not there.
    """
    if all((target / split / "done").exists() for split in ("train", "test")):
        return
    reader = data / "jpgpack.py"
    if not reader.exists():
        raise LearngeneError(f"{reader} is missing; --data names the folder with cifar10_jpeg and camvid_half")
    spec = importlib.util.spec_from_file_location("jpgpack", reader)
    jpgpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(jpgpack)
    for split in ("train", "test"):
        pack = jpgpack.JpgPack(data / "cifar10_jpeg" / f"{split}.npz")
        for i, label in enumerate(pack.label):
            path = target / split / pack.classes[label] / f"{i:05}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pack.jpeg(i))
        (target / split / "done").touch()


class Stopwatch(Hook):
    """Processor seconds of every training step, without validation and checkpoints; and all metrics of the validations.

    Processor time leaves out what other processes take, not what they cost in caches and clock: only what was measured
    one after another can be compared. The seconds are in the message hub, whose history a resumed run goes on with.
    """

    priority = "LOWEST"  # after SizesValHook has added every size

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        self.start = time.process_time()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        runner.message_hub.update_scalar(STEP_SECONDS, time.process_time() - self.start)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.metrics = dict(metrics)


def train(cfg: Config, folder: Path) -> tuple[Runner, dict[str, float]]:
    """Train in ``folder``, or go on with it; the runner, and the metrics of its last validation."""
    cfg.update(work_dir=str(folder), experiment_name=folder.name, resume=True, log_level="WARNING")
    prepare(cfg, look=False)
    runner = Runner.from_cfg(adapt_to_device(cfg))
    watch = Stopwatch()
    runner.register_hook(watch)
    runner.train()
    if not watch.metrics:  # interrupted between its last checkpoint and this validation
        runner.val_loop.run()
    return runner, watch.metrics


def step_seconds(runner: Runner) -> float:
    """Processor seconds of a training step, mean over the run."""
    return float(runner.message_hub.get_scalar(STEP_SECONDS).mean())


def write_json(path: Path, value: dict) -> None:
    """Write a result whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1))
    temporary.replace(path)


def read_json(path: Path) -> dict | None:
    """A result, if there is one."""
    return json.loads(path.read_text()) if path.exists() else None


@DATASETS.register_module()
class PackedImages(CustomDataset):
    """A small set of images in class folders, decoded once and kept in memory."""

    def full_init(self) -> None:
        if self._fully_initialized:
            return
        super().full_init()
        paths = [self.get_data_info(i)["img_path"] for i in range(len(self))]
        self.images = {path: imread(path) for path in paths}  # a subset of this one numbers its images anew

    def prepare_data(self, idx: int) -> dict:
        info = self.get_data_info(idx)
        image = self.images[info["img_path"]]
        return self.pipeline({**info, "img": image, "img_shape": image.shape[:2]})
