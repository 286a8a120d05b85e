#!/usr/bin/env python
"""Train a model: `tools/train.py CONFIG`, with OpenMMLab's usual flags."""

from __future__ import annotations

from mmengine.config import Config

from mmlearngene.engine.run.launch import add_arguments, first_of_all, keep_short, load_config, run
from mmlearngene.engine.run.prepare import prepare
from mmlearngene.engine.run.runner import build_runner
from mmlearngene.engine.run.work_dir import hold, set_aside
from mmlearngene.utils.parser import Parser


def load() -> Config:
    """The config of the training that the command line asks for, once everything that it needs has been looked for."""
    parser = Parser(description=__doc__)
    add_arguments(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        help="resume from this checkpoint, or without a value from the latest one in the work dir",
    )
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision (needs a GPU)")
    parser.add_argument("--no-validate", action="store_true", help="do not evaluate during training")
    parser.add_argument("--auto-scale-lr", action="store_true", help="scale the learning rate to the global batch")
    args = parser.parse_args()
    cfg = load_config(args)
    if args.amp:
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.setdefault("loss_scale", "dynamic")
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.auto_scale_lr:
        cfg.auto_scale_lr.enable = True
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == "auto" else args.resume
    return prepare(cfg)


def main() -> None:
    """Train."""
    cfg = load()
    if first_of_all():
        hold(cfg.work_dir)
        set_aside(cfg)
    runner = build_runner(cfg)
    keep_short(runner.logger)
    runner.train()


if __name__ == "__main__":
    run(main)
