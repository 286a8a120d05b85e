"""What a teacher cache saves: an epoch without it, one that keeps the teacher's outputs, and one that replays them.

    python tools/benchmarks/teacher_cache.py --out teacher_cache.json

Each is a run of configs/tleg/aux_deit_s.py (h6-l12, LeViT-384, repeated augmentation, mixup and CutMix at 224 pixels)
by mmengine's Runner, with input pipeline, AdamW and the writing of the cache in it, over JPEGs as in input_pipeline.py
and from random weights. The three take turns, round after round; ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
from pathlib import Path

import timm
import torch
from input_pipeline import make_images
from mmengine.config import Config
from mmengine.runner import Runner

from mmlearngene.engine.run.device import adapt_to_device
from mmlearngene.utils.tables import table

ROOT = Path(__file__).resolve().parents[2]
TEACHER = "levit_384"


def epoch(teacher: dict, folder: Path, name: str, args: argparse.Namespace) -> dict[str, float]:
    """Seconds of an epoch, all of it, and of its input pipeline; the first step, which builds things, left out."""
    cfg = Config.fromfile(ROOT / "configs/tleg/aux_deit_s.py")
    cfg.model.teacher = teacher
    cfg.train_dataloader.update(batch_size=args.batch, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset = dict(
        type="CustomDataset", data_root=str(folder / "images"), pipeline=cfg.train_pipeline
    )
    for part in ("val", "test"):
        cfg.update({f"{part}_{what}": None for what in ("cfg", "dataloader", "evaluator")})
    cfg.train_cfg = dict(by_epoch=True, max_epochs=1)
    cfg.update(param_scheduler=[], custom_hooks=[], visualizer=None, log_level="ERROR", randomness=dict(seed=args.seed))
    cfg.default_hooks.checkpoint = None
    cfg.update(work_dir=str(folder / "work"), experiment_name=name)
    runner = Runner.from_cfg(adapt_to_device(cfg))
    runner.train()
    found = {}
    for what in ("time", "data_time"):
        steps, _ = runner.message_hub.get_scalar(f"train/{what}").data
        found[what] = float(sum(steps[1:]))
    return found | {"steps": len(steps) - 1}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--images", type=int, default=100, help="in the epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--top-k", type=int, default=10, help="classes kept of an image")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.disable(logging.WARNING)
    times: dict[str, list[dict[str, float]]] = {"plain": [], "keep": [], "replay": []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "images").mkdir()
        make_images(folder / "images", args.images)
        torch.save(timm.create_model(TEACHER).state_dict(), folder / "teacher.pth")
        teacher = dict(type="mmlearngene.TimmTeacher", model_name=TEACHER, checkpoint=str(folder / "teacher.pth"))
        for number in range(args.rounds):
            kept = folder / f"cache_{number}"
            cached = dict(type="mmlearngene.CachedTeacher", teacher=teacher, folder=str(kept), top_k=args.top_k)
            for kind, config in (("plain", teacher), ("keep", cached), ("replay", cached)):
                times[kind].append(epoch(config, folder, f"{kind}_{number}", args))
        size = sum(path.stat().st_size for path in kept.rglob("*.safetensors"))
    plain = times["plain"]
    ratios = {
        kind: [run["time"] / before["time"] for run, before in zip(times[kind], plain, strict=True)]
        for kind in ("keep", "replay")
    }
    result = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, threads: {args.threads}",
        "date": time.strftime("%Y-%m-%d"),
        "batch": args.batch,
        "rounds": args.rounds,
        "top_k": args.top_k,
        "images": plain[0]["steps"] * args.batch,
        "bytes_an_image": size / args.images,
        "plain_s": statistics.median(run["time"] for run in plain),
        "input_s": statistics.median(run["data_time"] for run in plain),
        "ratios": {kind: [statistics.median(found), min(found), max(found)] for kind, found in ratios.items()},
    }
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{result['device']}, batch {args.batch}; {result['images']} images take {result['plain_s']:.1f} s without")
    spans = {kind: "{:.2f} ({:.2f} to {:.2f})".format(*found) for kind, found in result["ratios"].items()}
    print(table([("run", "of an epoch without a cache"), *spans.items()], "<>"))


if __name__ == "__main__":
    main()
