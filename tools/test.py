#!/usr/bin/env python
"""Evaluate a checkpoint: `tools/test.py CONFIG CHECKPOINT`, with OpenMMLab's usual flags.

A learngene in place of the checkpoint is evaluated untuned, at the config's size or at that of `--arch`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.fileio import dump
from mmengine.model import is_model_wrapper
from mmengine.runner import CheckpointLoader, Runner
from torch import nn

from mmlearngene import LearngeneError
from mmlearngene.engine.run.device import adapt_to_device
from mmlearngene.engine.run.launch import add_arguments, load_config, run
from mmlearngene.engine.run.prepare import prepare
from mmlearngene.engine.run.untuned import use_learngene
from mmlearngene.frameworks.base import some
from mmlearngene.io.gene import is_learngene
from mmlearngene.io.paths import existing
from mmlearngene.utils.parser import Parser


def check_fit(model: nn.Module, path: str) -> None:
    """Check that a checkpoint has all of the model's tensors; mmengine would leave others at their start values.

    Raises:
        LearngeneError: names the first that it has not, or in another shape.
    """
    saved = CheckpointLoader.load_checkpoint(path, map_location="cpu")
    saved = saved.get("state_dict", saved)
    saved = {name.removeprefix("module."): tensor for name, tensor in saved.items()}
    model = model.module if is_model_wrapper(model) else model
    for name, tensor in model.state_dict().items():
        if name in saved and saved[name].shape != tensor.shape:
            raise LearngeneError(
                f"{path} does not fit the config: {name} is {tuple(saved[name].shape)} there and {tuple(tensor.shape)} "
                "in the model; expected the config, the size and the classes that it was trained with"
            )
    if missing := [name for name, _ in model.named_parameters() if name not in saved]:
        raise LearngeneError(
            f"{path} does not fit the config: it has no {some(missing)}; expected a checkpoint of this model, or what "
            "mmlearngene expand --layout mmpretrain writes with the classes of the learngene"
        )


def load() -> tuple[argparse.Namespace, Config]:
    """The command line and the config it leads to, once everything that they need has been looked for."""
    parser = Parser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file, or a learngene")
    parser.add_argument(
        "--show-dir", help="segmentation: write image, truth and prediction side by side to this folder"
    )
    parser.add_argument("--out", type=Path, help="write the metrics to this JSON file")
    args = parser.parse_args()
    if args.out and (args.out.suffix != ".json" or args.out.is_dir()):
        raise LearngeneError(
            f"--out {args.out}: expected the name of a JSON file, such as {args.out.with_suffix('.json')}"
        )
    if "://" not in args.checkpoint:
        existing(args.checkpoint)
    if is_learngene(args.checkpoint):  # whose descendants have any size, whatever the config
        size, args.arch = args.arch, None
        cfg = load_config(args)
        use_learngene(cfg, args.checkpoint, size)
    else:
        cfg = load_config(args)
        cfg.load_from = args.checkpoint
    if args.show_dir:
        pictures = dict(type="mmlearngene.SegPictureHook", folder=args.show_dir)
        cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), pictures]
    return args, prepare(cfg, training=False, loaders=("test_dataloader",))


def main() -> None:
    """Evaluate."""
    args, cfg = load()
    runner = Runner.from_cfg(adapt_to_device(cfg))
    if not is_learngene(args.checkpoint):
        check_fit(runner.model, args.checkpoint)
    metrics = runner.test()
    if args.out and is_main_process():
        dump(metrics, args.out)


if __name__ == "__main__":
    run(main)
