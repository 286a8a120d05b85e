"""Evaluate a checkpoint: `tools/test.py CONFIG CHECKPOINT`, with OpenMMLab's usual flags."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from mmlearngene.engine.data_check import check_seg_data
from mmlearngene.engine.device import adapt_to_device


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--work-dir", help="where logs go; work_dirs/<config name> by default")
    parser.add_argument(
        "--show-dir", help="segmentation: write image, truth and prediction side by side to this folder"
    )
    parser.add_argument("--out", help="write the metrics to this JSON file")
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, help="override the config: key=value, nested as a.b=value"
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def main() -> None:
    """Evaluate."""
    args = parse_args()
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get("work_dir") or str(Path("work_dirs") / Path(args.config).stem)
    cfg.load_from = args.checkpoint
    if args.show_dir:
        cfg.default_hooks.visualization.draw = True
        cfg.visualizer.save_dir = args.show_dir
    check_seg_data(cfg, loaders=("test_dataloader",))
    metrics = Runner.from_cfg(adapt_to_device(cfg)).test()
    if args.out:
        from mmengine.fileio import dump

        dump(metrics, args.out)


if __name__ == "__main__":
    main()
