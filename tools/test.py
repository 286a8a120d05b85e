"""Evaluate a checkpoint: `tools/test.py CONFIG CHECKPOINT`, with OpenMMLab's usual flags."""

from __future__ import annotations

import argparse

from mmengine.dist import is_main_process
from mmengine.fileio import dump
from mmengine.runner import Runner

from mmlearngene.engine.data_check import check_seg_data
from mmlearngene.engine.device import adapt_to_device
from mmlearngene.engine.launch import add_arguments, leave_process_group, load_config


def main() -> None:
    """Evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument(
        "--show-dir", help="segmentation: write image, truth and prediction side by side to this folder"
    )
    parser.add_argument("--out", help="write the metrics to this JSON file")
    args = parser.parse_args()
    cfg = load_config(args)
    cfg.load_from = args.checkpoint
    if args.show_dir:
        cfg.default_hooks.visualization.update(draw=True, interval=1)  # every batch
        cfg.visualizer.save_dir = args.show_dir
    check_seg_data(cfg, loaders=("test_dataloader",))
    metrics = Runner.from_cfg(adapt_to_device(cfg)).test()
    if args.out and is_main_process():
        dump(metrics, args.out)
    leave_process_group()


if __name__ == "__main__":
    main()
