"""What the studies share: images, a stopwatch for training steps, runs that resume, and their results in one file."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import time
from functools import cache
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


class Results:
    """What the runs of a study came to: a file with a line of JSON for each, which names it. A run's last line counts.

    Processes may add at the same time. A line that a killed process has not finished is no result, and stays alone on
    its line.

    Args:
        path: the ``.jsonl`` file, which the first result makes.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._seen: tuple[int, int] | None = None
        self._found: dict[str, dict] = {}

    def all(self) -> dict[str, dict]:
        """Run -> result, of the runs that are finished; the file is read where it has changed."""
        if not self.path.exists():
            return {}
        stat = self.path.stat()
        if self._seen != (stat.st_mtime_ns, stat.st_size):
            self._seen, self._found = (stat.st_mtime_ns, stat.st_size), {}
            for line in self.path.read_text().splitlines():
                try:
                    result = json.loads(line)
                except json.JSONDecodeError:  # not finished
                    continue
                self._found[result.pop("run")] = result
        return self._found

    def get(self, run: str) -> dict | None:
        """What a run came to; None if it is not finished."""
        return self.all().get(run)

    def add(self, run: str, result: dict) -> None:
        """Append the line of a run, in one write."""
        line = json.dumps({"run": run, **result}) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
            if end := file.seek(0, os.SEEK_END):
                file.seek(end - 1)
                line = line if file.read(1) == b"\n" else "\n" + line
            file.write(line.encode())


decoded = cache(imread)  # path -> pixels: a process tests many networks on the same images


@DATASETS.register_module()
class PackedImages(CustomDataset):
    """A small set of images in class folders, decoded once in a process and kept in memory."""

    def full_init(self) -> None:
        if self._fully_initialized:
            return
        super().full_init()
        paths = [self.get_data_info(i)["img_path"] for i in range(len(self))]
        self.images = {path: decoded(path) for path in paths}  # a subset of this one numbers its images anew

    def prepare_data(self, idx: int) -> dict:
        info = self.get_data_info(idx)
        image = self.images[info["img_path"]]
        return self.pipeline({**info, "img": image, "img_shape": image.shape[:2]})
