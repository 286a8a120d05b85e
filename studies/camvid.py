"""Is a learngene from CIFAR-10 worth something on street scenes? UperNet on CamVid, equal iterations, several seeds.

    python studies/camvid.py --data ../shared/data

An ancestry h6-l8 is trained on CIFAR-10 and gives, by distillation, a LeTs learngene (h3-l4 in the Aux-Net h6-l8).
The descendant h4-l6 then segments CamVid, its backbone

* ``scratch``: at random;
* ``weight-selection``: evenly spaced channels and layers of the ancestry, nothing trained in between;
* ``lets``: expanded from the learngene, not tuned;
* ``pre-fin``: the same network, trained on CIFAR-10 by itself for as many epochs as the ancestry.

``--change`` repeats the runs on CamVid with one thing changed, ``--epochs`` with shorter or longer pre-training.
Everything is written to the work dir, what a run came to as a line of its results.jsonl. What is finished is not done
again, what was interrupted is resumed, and ``--report`` makes table and curves of the results alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import matplotlib
import numpy as np
from common import Results, unpack_cifar10
from mmengine.config import Config
from PIL import Image

from mmlearngene import extract
from mmlearngene.io.paths import SUFFIX

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

CONFIGS = Path("configs/study")
CIFAR10 = Path("work_dirs/camvid/cifar10")  # the configs look for it there
EPOCHS = Config.fromfile(CONFIGS / "camvid_cifar10.py").epochs
ITERATIONS = Config.fromfile(CONFIGS / "camvid_des.py").iterations  # of a run on CamVid
ARMS = ("scratch", "weight-selection", "lets", "pre-fin")
SPLITS = ("train", "val", "test")
INIT = "model.init_cfg.checkpoint"
LR, DECAY = "optim_wrapper.optimizer.lr", "optim_wrapper.paramwise_cfg.layer_decay_rate"
LENGTH = ("train_cfg.max_iters", "param_scheduler.1.end", "default_hooks.checkpoint.interval")
# what may differ from the study's own protocol, one thing at a time
CHANGES = {
    "long": {**dict.fromkeys(LENGTH, 1800), "train_cfg.val_interval": 300},
    "low-lr": {LR: 1e-3},
    "high-lr": {LR: 6e-3},
    "no-decay": {DECAY: 1.0},
    "frozen": {"model.backbone.frozen_stages": 6},
    "41-images": {"train_dataloader.dataset.indices": ",".join(map(str, range(0, 367, 9)))},
}
DESCENDANT = "h4-l6"
SHOWN = 3  # test images in the figure


def call(tool: str, config: Path, *arguments: str | Path, options: dict) -> None:
    """Run one of the tools with one thread, silently: it logs to its work dir. Its last lines are shown if it fails."""
    command = [sys.executable, tool, config, *arguments, "--cfg-options", *(f"{k}={v}" for k, v in options.items())]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stderr[-2000:]}")


def train(config: str, work_dir: Path, last: str, options: dict, arch: str | None = None) -> Path:
    """Train ``config``, at another size where one is given, in ``work_dir`` unless its checkpoint ``last`` is there.

    Returns:
        The checkpoint.
    """
    checkpoint = work_dir / f"{last}.pth"
    if not checkpoint.exists():
        size = ["--arch", arch] if arch else []
        call("tools/train.py", CONFIGS / f"{config}.py", *size, "--work-dir", work_dir, "--resume", options=options)
        print(f"{work_dir} is done", flush=True)
    return checkpoint


@dataclass
class Study:
    """All runs of one work dir.

    Attributes:
        root: the work dir.
        data: the folder with cifar10_jpeg and camvid_half.
        epochs: on CIFAR-10, of ancestry, Aux-Net and Pre-Fin alike.
        arms: those of :data:`ARMS` that are run.
        seeds: runs of each arm.
        change: name of one of :data:`CHANGES`, or none.
    """

    root: Path
    data: Path
    epochs: int = EPOCHS
    arms: tuple[str, ...] = ARMS
    seeds: int = 3
    change: str | None = None

    def gene(self, arm: str) -> Path:
        """The learngene file of an arm."""
        stem = f"aux/epoch_{self.epochs}" if arm == "lets" else arm
        return self.root / f"{stem}{SUFFIX}"

    @cached_property
    def results(self) -> Results:
        """What the runs on CamVid came to."""
        return Results(self.root / "results.jsonl")

    def run_name(self, arm: str, seed: int) -> str:
        """The name of a run in the results, and its folder in the work dir."""
        return str(Path(self.change or "", f"{arm}_seed{seed}"))

    def run_dir(self, arm: str, seed: int) -> Path:
        """Where a descendant is trained."""
        return self.root / self.run_name(arm, seed)

    def run(self, processes: int) -> None:
        """Do everything, ``processes`` runs at a time."""
        with ThreadPoolExecutor(processes) as pool:
            ancestry = pool.submit(self.pretrain, "ancestry")
            control = pool.submit(self.pretrain, "ancestry", arch=DESCENDANT)
            self.extract("weight-selection", ancestry.result())
            aux = pool.submit(self.pretrain, "aux", {"model.teacher.checkpoint": ancestry.result()})
            self.extract("pre-fin", control.result())
            # the runs that wait for the Aux-Net come last
            arms = sorted(self.arms, key=lambda arm: arm == "lets")
            runs = []
            for arm in arms:
                if arm == "lets":
                    aux.result()
                runs += [pool.submit(self.segment, arm, seed) for seed in range(self.seeds)]
            for run in runs:
                run.result()

    def pretrain(self, name: str, options: dict | None = None, arch: str | None = None) -> Path:
        """Train ``camvid_<name>`` on CIFAR-10, at its own size or another; returns the checkpoint."""
        length = {"train_cfg.max_epochs": self.epochs, "param_scheduler.1.end": self.epochs}
        folder = self.root / (f"{name}_{arch}" if arch else name)
        return train(f"camvid_{name}", folder, f"epoch_{self.epochs}", {**length, **(options or {})}, arch)

    def extract(self, method: str, checkpoint: Path) -> None:
        """Turn a checkpoint of ``camvid_ancestry`` into the learngene file of an arm; its config is beside it."""
        if not self.gene(method).exists():
            extract(method, checkpoint, like=checkpoint.with_name("camvid_ancestry.py")).save(self.gene(method))

    def segment(self, arm: str, seed: int) -> None:
        """Train and test one descendant on CamVid."""
        folder = self.run_dir(arm, seed)
        camvid = {f"{split}_dataloader.dataset.data_root": self.data / "camvid_half" for split in SPLITS}
        # layer decay protects what was inherited; a random backbone has nothing to protect
        init = {"model.init_cfg": None, DECAY: 1.0} if arm == "scratch" else {INIT: self.gene(arm)}
        options = {"randomness.seed": seed, **init, **camvid, **CHANGES.get(self.change, {})}
        checkpoint = train("camvid_des", folder, f"iter_{options.get(LENGTH[0], ITERATIONS)}", options)
        if self.results.get(self.run_name(arm, seed)) is None:
            show = ["--show-dir", folder / "shown"] if seed == 0 else []
            arguments = [
                checkpoint,
                "--work-dir",
                folder / "test",
                "--out",
                folder / "test.json",
                "--out-item",
                "metrics",
                *show,
            ]
            call("tools/test.py", CONFIGS / "camvid_des.py", *arguments, options=camvid)
            test = json.loads((folder / "test.json").read_text())
            self.results.add(self.run_name(arm, seed), dict(val_mIoU=self.curve(arm, seed), test=test))

    def curve(self, arm: str, seed: int) -> dict[int, float]:
        """Iteration -> mIoU (percent) on the validation images, from the logs of a run."""
        points = {}
        for log in sorted(self.run_dir(arm, seed).glob("*/vis_data/scalars.json")):
            rows = map(json.loads, log.read_text().splitlines())
            points |= {row["step"]: row["mIoU"] for row in rows if "mIoU" in row and "step" in row}
        return points

    def report(self) -> None:
        """The table, the curves and the pictures, in the folder of the runs."""
        folder = self.root / (self.change or "")
        folder.mkdir(parents=True, exist_ok=True)
        figure, axes = plt.subplots(figsize=(6, 3.6), dpi=100)
        for arm in self.arms:
            runs = [run for seed in range(self.seeds) if (run := self.results.get(self.run_name(arm, seed)))]
            if not runs:
                continue
            curves = [{int(step): value for step, value in run["val_mIoU"].items()} for run in runs]
            steps = sorted(set.intersection(*map(set, curves)))
            values = np.array([[points[step] for step in steps] for points in curves])
            axes.plot(steps, values.mean(0), marker="o", markersize=3, label=arm)
            axes.fill_between(steps, values.min(0), values.max(0), alpha=0.2)
            scores = np.array([[run["test"][key] for key in ("mIoU", "mAcc", "aAcc")] for run in runs])
            cells = [f"{mean:.1f}" for mean in values.mean(0)]
            cells += [f"{m:.1f} ± {s:.1f}" for m, s in zip(scores.mean(0), scores.std(0), strict=True)]
            print(f"| {arm} | {' | '.join(cells)} |")
        axes.set(xlabel="iterations", ylabel="mIoU on CamVid val (%)", title="Descendant h4-l6 with UperNet")
        axes.legend()
        axes.grid(alpha=0.3)
        figure.tight_layout()
        figure.savefig(folder / "curves.png")

    def pictures(self, target: Path) -> None:
        """Rows: test images. Columns: image, truth, then the prediction of each arm (seed 0)."""
        rows = []
        shown = {arm: self.run_dir(arm, 0) / "shown" for arm in self.arms}
        names = sorted(path.name for path in shown[self.arms[0]].rglob("*.png"))
        for name in names[:: len(names) // SHOWN][:SHOWN]:
            triplets = [np.asarray(Image.open(next(folder.rglob(name)))) for folder in shown.values()]
            width = triplets[0].shape[1] // 3
            rows.append(np.hstack([triplets[0][:, : 2 * width], *(picture[:, 2 * width :] for picture in triplets)]))
        figure, axes = plt.subplots(figsize=(9, 3.6), dpi=100)
        axes.imshow(np.vstack(rows))
        titles = ["image", "truth", *self.arms]
        width = rows[0].shape[1] // len(titles)
        axes.set_xticks([width * (i + 0.5) for i in range(len(titles))], titles)
        axes.set_yticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        figure.tight_layout()
        figure.savefig(target)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder of cifar10_jpeg and camvid_half"
    )
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/camvid"), help="where everything goes")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="epochs of each pre-training")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS, help="which initialisations")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each on CamVid")
    parser.add_argument("--change", choices=CHANGES, help="one thing that differs from the protocol")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--report", action="store_true", help="only make table and curves of what is finished")
    args = parser.parse_args()
    study = Study(args.work_dir, args.data, args.epochs, tuple(args.arms), args.seeds, args.change)
    if not args.report:
        unpack_cifar10(args.data, CIFAR10)
        study.run(args.processes)
        study.pictures(study.root / (args.change or "") / "masks.png")
    study.report()


if __name__ == "__main__":
    main()
