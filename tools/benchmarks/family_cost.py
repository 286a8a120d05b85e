"""What a family of sizes costs, with a learngene and without; and what a step of its training sends between GPUs.

    python tools/benchmarks/family_cost.py --out family_cost.json

Computed, not measured: FLOPs from the tensor table (forward times three, and the teacher's forward), epochs from the
configs, bytes from the numbers of parameters. The family is the twenty sizes h6 to h12 by l8 to l16 of the LeTs paper,
all of the same cost: the mean one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from mmengine.config import Config

from mmlearngene import ViTSpec
from mmlearngene.registry import MODELS
from mmlearngene.utils.tables import table

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 1_281_167  # of ImageNet-1K
TEACHER_FLOPS = 2 * 2.35e9  # LeViT-384, forward, as its paper says
SIZES = [f"h{heads}-l{layers}" for heads in (6, 8, 10, 12) for layers in (8, 10, 12, 14, 16)]
AUX_CONFIGS = ("lets/aux_deit_b", "tleg/aux_deit_s", "tleg/aux_deit_b", "sws/aux_deit_s", "sws/aux_deit_b")


def epochs_of(config: str) -> int:
    """The epochs that a config trains."""
    return Config.fromfile(ROOT / "configs" / f"{config}.py").train_cfg.max_epochs


def family() -> dict:
    """EFLOPs of N sizes from N = 1 to 20, and from how many on the learngene costs less."""
    mean = sum(3 * ViTSpec.parse(size).flops for size in SIZES) / len(SIZES)
    stage_1 = epochs_of("lets/aux_deit_b") * (3 * ViTSpec.parse("h12-l16").flops + TEACHER_FLOPS)
    tuning = epochs_of("lets/des") * mean
    each = {
        "scratch": epochs_of("controls/scratch_100e_h6_l12") * mean,
        "pre-training": epochs_of("ancestry/deit") * mean,
        "distillation": epochs_of("controls/distill_h6_l12") * (mean + TEACHER_FLOPS),
    }
    unit = IMAGES / 1e18
    rows = [
        {
            "sizes": n,
            "learngene": (stage_1 + n * tuning) * unit,
            **{name: n * cost * unit for name, cost in each.items()},
        }
        for n in range(1, len(SIZES) + 1)
    ]
    pays = {name: next((row["sizes"] for row in rows if row["learngene"] < row[name]), None) for name in each}
    return {"eflops": rows, "pays_from": pays}


def communication(bus: dict[int, float]) -> list[dict]:
    """Bytes of gradients that a step of each Aux-Net sums over all GPUs, and seconds of that."""
    found = []
    for name in AUX_CONFIGS:
        learngene = Config.fromfile(ROOT / "configs" / f"{name}.py").model.student.learngene
        with torch.device("meta"):
            built = MODELS.build(learngene)
        own, plain = 4 * built.stored_params()["total"], 4 * built.aux_spec.num_params
        # a ring sends and receives 2 (n - 1) / n of the bytes over each link
        seconds = {
            n: {"own": 2 * (n - 1) / n * own / rate, "plain": 2 * (n - 1) / n * plain / rate} for n, rate in bus.items()
        }
        found.append({"config": name, "bytes": own, "plain_bytes": plain, "seconds": seconds})
    return found


def main() -> None:
    """Compute and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--bus-8", type=float, default=300, help="GB/s that 8 GPUs of a machine are assumed to have each"
    )
    parser.add_argument(
        "--bus-64", type=float, default=40, help="GB/s that 64 GPUs of 8 machines are assumed to have each"
    )
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    args = parser.parse_args()
    bus = {8: args.bus_8 * 1e9, 64: args.bus_64 * 1e9}
    result = {
        "family": family(),
        "communication": communication(bus),
        "bus": {n: rate / 1e9 for n, rate in bus.items()},
    }
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    names = [name for name in result["family"]["eflops"][0] if name != "sizes"]
    rows = [("sizes", *names)]
    rows += [(str(r["sizes"]), *(f"{r[name]:.0f}" for name in names)) for r in result["family"]["eflops"]]
    print("EFLOPs", table(rows, ">>>>>"), f"a learngene costs less from: {result['family']['pays_from']}", sep="\n")
    for row in result["communication"]:
        times = ", ".join(
            f"{n} GPUs {1e3 * s['own']:.1f} ms ({1e3 * s['plain']:.1f})" for n, s in row["seconds"].items()
        )
        print(f"{row['config']}: {row['bytes'] / 1e6:.0f} MB (plain ViT {row['plain_bytes'] / 1e6:.0f}); {times}")


if __name__ == "__main__":
    main()
