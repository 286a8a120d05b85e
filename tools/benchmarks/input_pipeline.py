"""How many images a second one core prepares for training, and how many cores GPUs would need.

    python tools/benchmarks/input_pipeline.py --out input_pipeline.json

JPEGs of ImageNet's mean size (500 x 375, about 110 kB) are made of smooth noise and go through the training pipeline of
configs/_base_/datasets/imagenet_deit.py, and of the validation pipeline, in one thread. Side by side with timm's own
training transforms of the same recipe, and with imagenet_deit_reduced.py, these and larger JPEGs: rounds of each in
turn, of which the medians and their ratio to timm's are told. What GPUs need is an estimate:
the FLOPs of a step of the Aux-Net and of the teacher at an assumed rate, by default 40 % of an H100's 989 TFLOP/s.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS
from PIL import Image

from mmlearngene import ViTSpec

ROOT = Path(__file__).resolve().parents[2]
SIDES = ((500, 375), (1000, 750), (2000, 1500))  # ImageNet's mean, and photos
TEACHER_MACS = 2.35e9  # LeViT-384, as its paper says
AUX_NETS = {"LeTs and SWS, B (h12-l16)": "h12-l16", "TLEG, B (h12-l12)": "h12-l12", "TLEG, S (h6-l12)": "h6-l12"}


def make_images(folder: Path, count: int, side: tuple[int, int] = (500, 375)) -> float:
    """Write JPEGs; their mean size in bytes."""
    numbers = np.random.default_rng(0)
    (folder / "one").mkdir()
    for number in range(count):
        coarse = Image.fromarray(numbers.integers(0, 256, (96, 128, 3), np.uint8))
        coarse.resize(side, Image.BICUBIC).save(folder / "one" / f"{number}.jpg", quality=92)
    return float(np.mean([path.stat().st_size for path in (folder / "one").iterdir()]))


def images_a_second(pipeline: list[dict], folder: Path, count: int) -> float:
    """Of one core."""
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        dataset = DATASETS.build(dict(type="CustomDataset", data_root=str(folder), pipeline=pipeline))
    for index in range(5):
        dataset[index]
    start = time.process_time()  # of the processor: other processes take none of it
    for index in range(count):
        dataset[index % len(dataset)]
    return count / (time.process_time() - start)


def timm_transform():
    """timm's training transforms in DeiT's recipe, as its loader makes them."""
    from timm.data import create_transform

    return create_transform(
        224, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic", re_prob=0.25,
        mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), color_jitter=None,
    )  # fmt: skip


def side_by_side(pipelines: dict[str, list[dict]], side: tuple[int, int], images: int, rounds: int = 5) -> dict:
    """Images a second of one core, medians of rounds in turn: timm's, and those of pipelines.

    Args:
        pipelines: name -> training pipeline.
        side: width and height of the JPEGs.
        images: of a round.
        rounds: how many.
    """
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        make_images(Path(folder), 8, side)
        files, transform = sorted(Path(folder, "one").iterdir()), timm_transform()
        for _ in range(rounds):
            start = time.process_time()
            for index in range(images):
                transform(Image.open(files[index % len(files)]).convert("RGB"))
            found.setdefault("timm", []).append(images / (time.process_time() - start))
            for name, pipeline in pipelines.items():
                found.setdefault(name, []).append(images_a_second(pipeline, Path(folder), images))
    medians = {name: float(np.median(rates)) for name, rates in found.items()}
    return {"side": list(side), **medians, "ratio": {name: medians[name] / medians["timm"] for name in pipelines}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200, help="images to prepare")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--tflops", type=float, default=0.4 * 989, help="what a GPU is assumed to do a second")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cfg = Config.fromfile(ROOT / "configs/_base_/datasets/imagenet_deit.py")
    with tempfile.TemporaryDirectory() as folder:
        size = make_images(Path(folder), 20)
        train, val = (images_a_second(p, Path(folder), args.images) for p in (cfg.train_pipeline, cfg.test_pipeline))
    result = {"date": time.strftime("%Y-%m-%d"), "jpeg_bytes": size, "train": train, "val": val, "needs": {}}
    for name, aux in AUX_NETS.items():
        flops = 3 * ViTSpec.parse(aux).flops + 2 * TEACHER_MACS
        need = args.gpus * args.tflops * 1e12 / flops
        result["needs"][name] = {"images_a_second": need, "cores": need / train}
    small = Config.fromfile(ROOT / "configs/_base_/datasets/imagenet_deit_reduced.py")
    pipelines = {"imagenet_deit": cfg.train_pipeline, "imagenet_deit_reduced": small.train_pipeline}
    result["beside_timm"] = [side_by_side(pipelines, side, max(8, args.images // 4)) for side in SIDES]
    result |= {"gpus": args.gpus, "tflops": args.tflops}
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"JPEGs of {size / 1e3:.0f} kB: {train:.0f} images a second a core in training, {val:.0f} in validation")
    for row in result["beside_timm"]:
        ratios = ", ".join(f"{name} {row[name]:.0f} ({ratio:.2f} x)" for name, ratio in row["ratio"].items())
        print(f"JPEGs of {row['side'][0]} x {row['side'][1]}: timm {row['timm']:.0f} images a second, {ratios}")
    for name, need in result["needs"].items():
        print(f"{name}: {args.gpus} GPUs need {need['images_a_second']:,.0f} a second, {need['cores']:.0f} such cores")


if __name__ == "__main__":
    main()
