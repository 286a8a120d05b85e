"""Is a learngene from CIFAR-10 worth something on street scenes? UperNet on CamVid, equal iterations, several seeds.

    python tools/studies/camvid.py --data ../shared/data

An ancestry h6-l8 is trained on CIFAR-10 and gives, by distillation, a LeTs learngene (h3-l4 in the Aux-Net h6-l8).
The descendant h4-l6 then segments CamVid, its backbone

* ``scratch``: at random;
* ``weight-selection``: evenly spaced channels and layers of the ancestry, nothing trained in between;
* ``lets``: expanded from the learngene, not tuned;
* ``pre-fin``: the same network, trained on CIFAR-10 by itself for as many epochs as the ancestry.

Everything is written to ``work_dirs/camvid``, the figures to ``docs/images``. What is finished is not done again, and
what was interrupted is resumed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
from mmengine.config import Config
from PIL import Image

from mmlearngene import LearngeneError
from mmlearngene.ancestry import load_ancestry
from mmlearngene.learngenes.extracted import extract

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

ROOT = Path("work_dirs/camvid")
CONFIGS = Path("configs/study")
LAST = f"epoch_{Config.fromfile(CONFIGS / 'camvid_cifar10.py').epochs}"
GENES = {
    "scratch": None,
    "weight-selection": ROOT / "weight-selection.learngene.safetensors",
    "lets": ROOT / "aux" / f"{LAST}.learngene.safetensors",
    "pre-fin": ROOT / "pre-fin.learngene.safetensors",
}
SHOWN = 3  # test images in the figure


def unpack_cifar10(data: Path) -> None:
    """Write the JPEG pack of CIFAR-10 as class folders, which mmpretrain's CustomDataset reads."""
    reader = data / "jpgpack.py"
    if not reader.exists():
        raise LearngeneError(f"{reader} is missing; --data names the folder with cifar10_jpeg and camvid_half")
    spec = importlib.util.spec_from_file_location("jpgpack", reader)
    jpgpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(jpgpack)
    for split in ("train", "test"):
        folder = ROOT / "cifar10" / split
        if (folder / "done").exists():
            continue
        pack = jpgpack.JpgPack(data / "cifar10_jpeg" / f"{split}.npz")
        for i, label in enumerate(pack.label):
            path = folder / pack.classes[label] / f"{i:05}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pack.jpeg(i))
        (folder / "done").touch()


def train(config: str, name: str, last: str, *options: str) -> Path:
    """Train ``config`` in ``work_dirs/camvid/<name>`` unless its checkpoint ``last`` is there; returns that."""
    work_dir = ROOT / name
    if not (work_dir / f"{last}.pth").exists():
        command = ["tools/train.py", CONFIGS / f"{config}.py", "--work-dir", work_dir, "--resume"]
        command += ["--cfg-options", *options] if options else []
        subprocess.run([sys.executable, *map(str, command)], check=True)
    return work_dir / f"{last}.pth"


def pretrain() -> None:
    """Ancestry, Pre-Fin control and Aux-Net on CIFAR-10, and the learngenes that come out of them."""
    ancestry = train("camvid_ancestry", "ancestry", LAST)
    control = train("camvid_prefin", "pre-fin", LAST)
    train("camvid_aux", "aux", LAST)
    for method, source, heads in (("weight-selection", ancestry, 6), ("pre-fin", control, 4)):
        if not GENES[method].exists():
            extract(method, load_ancestry(source, num_heads=heads)).save(GENES[method])


def segment(arm: str, seed: int, data: Path) -> None:
    """Train and test one descendant on CamVid."""
    config = CONFIGS / "camvid_des.py"
    last = f"iter_{Config.fromfile(config).train_cfg.max_iters}"
    name = f"{arm}_seed{seed}"
    gene = GENES[arm]
    camvid = [f"{split}_dataloader.dataset.data_root={data / 'camvid_half'}" for split in ("train", "val", "test")]
    init = f"model.init_cfg.checkpoint={gene}" if gene else "model.init_cfg=None"
    checkpoint = train("camvid_des", name, last, f"randomness.seed={seed}", init, *camvid)
    out = ROOT / name / "test.json"
    if not out.exists():
        command = ["tools/test.py", config, checkpoint, "--work-dir", ROOT / name / "test", "--out", out]
        command += ["--show-dir", ROOT / name / "shown"] if seed == 0 else []
        command += ["--cfg-options", *camvid]
        subprocess.run([sys.executable, *map(str, command)], check=True)


def curve(arm: str, seed: int) -> dict[int, float]:
    """Iteration -> mIoU (percent) on the validation images."""
    points = {}
    for log in sorted((ROOT / f"{arm}_seed{seed}").glob("*/vis_data/scalars.json")):
        rows = map(json.loads, log.read_text().splitlines())
        points |= {row["step"]: row["mIoU"] for row in rows if "mIoU" in row and "step" in row}
    return points


def report(seeds: int) -> None:
    """The table, the curves and the pictures."""
    results = {}
    figure, axes = plt.subplots(figsize=(6, 3.6), dpi=100)
    for arm in GENES:
        curves = [curve(arm, seed) for seed in range(seeds)]
        steps = sorted(set.intersection(*map(set, curves)))
        values = np.array([[points[step] for step in steps] for points in curves])
        tests = [json.loads((ROOT / f"{arm}_seed{seed}" / "test.json").read_text()) for seed in range(seeds)]
        results[arm] = dict(steps=steps, val_mIoU=values.tolist(), test=tests)
        axes.plot(steps, values.mean(0), marker="o", markersize=3, label=arm)
        axes.fill_between(steps, values.min(0), values.max(0), alpha=0.2)
        scores = np.array([[test[key] for key in ("mIoU", "mAcc", "aAcc")] for test in tests])
        cells = " | ".join(f"{m:.1f} +- {s:.1f}" for m, s in zip(scores.mean(0), scores.std(0), strict=True))
        print(f"| {arm} | {values[:, 0].mean():.1f} | {cells} |")
    axes.set(xlabel="iterations", ylabel="mIoU on CamVid val (%)", title="Descendant h4-l6 with UperNet")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    images = Path("docs/images")
    images.mkdir(parents=True, exist_ok=True)
    figure.savefig(images / "camvid_curves.png")
    (ROOT / "results.json").write_text(json.dumps(results, indent=2))
    pictures(images / "camvid_masks.png")


def pictures(target: Path) -> None:
    """Rows: test images. Columns: image, truth, then the prediction of each arm (seed 0)."""
    rows = []
    names = sorted(path.name for path in (ROOT / "scratch_seed0" / "shown").rglob("*.png"))
    for name in names[:: len(names) // SHOWN][:SHOWN]:
        shown = [np.asarray(Image.open(next((ROOT / f"{arm}_seed0" / "shown").rglob(name)))) for arm in GENES]
        width = shown[0].shape[1] // 3
        rows.append(np.hstack([shown[0][:, : 2 * width], *(picture[:, 2 * width :] for picture in shown)]))
    figure, axes = plt.subplots(figsize=(9, 3.6), dpi=100)
    axes.imshow(np.vstack(rows))
    titles = ["image", "truth", *GENES]
    width = rows[0].shape[1] // len(titles)
    axes.set_xticks([width * (i + 0.5) for i in range(len(titles))], titles)
    axes.set_yticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.tight_layout()
    figure.savefig(target)


def main() -> None:
    """Run the whole study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder of cifar10_jpeg and camvid_half"
    )
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    unpack_cifar10(args.data)
    pretrain()
    for seed in range(args.seeds):
        for arm in GENES:
            segment(arm, seed, args.data)
    report(args.seeds)


if __name__ == "__main__":
    main()
