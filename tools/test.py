#!/usr/bin/env python
"""Evaluate a checkpoint: `tools/test.py CONFIG CHECKPOINT`, with OpenMMLab's usual flags.

A learngene in place of the checkpoint is evaluated untuned, at the config's size or at that of `--arch`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults
from mmengine.fileio import dump
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import CheckpointLoader, FlexibleRunner
from torch import nn

from mmlearngene import LearngeneError
from mmlearngene.engine.run.launch import add_arguments, load_config, run
from mmlearngene.engine.run.prepare import prepare
from mmlearngene.engine.run.runner import build_runner
from mmlearngene.engine.run.tta import use_tta
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
    model = model.module if isinstance(model, BaseTTAModel) else model
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


def add_test_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a test, which are mmpretrain's."""
    parser.add_argument("--out", type=Path, help="write what the test finds to this file: predictions, a pickle")
    parser.add_argument(
        "--out-item", choices=("pred", "metrics"), default="pred",
        help="what --out has: predictions as mmengine's DumpResults writes them (the default), or metrics as JSON",
    )  # fmt: skip
    parser.add_argument(
        "--show-dir",
        help="write pictures to this folder: an image with its class, or image, truth and prediction side by side",
    )
    parser.add_argument("--interval", type=int, default=1, help="classification: show one image in so many")
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision")
    parser.add_argument(
        "--tta", action="store_true",
        help="test-time augmentation: the config's tta_model and tta_pipeline; classification without them flips",
    )  # fmt: skip


def check_out(out: Path | None, item: str) -> None:
    """Check the name of the file that ``--out`` writes.

    Raises:
        LearngeneError: its suffix is not of what it is to hold, or it is a folder.
    """
    suffixes = (".json",) if item == "metrics" else (".pkl", ".pickle")
    if out and (out.suffix not in suffixes or out.is_dir()):
        metrics = "; metrics are --out-item metrics" if (out.suffix, item) == (".json", "pred") else ""
        kind = "JSON" if item == "metrics" else "pickle"
        raise LearngeneError(
            f"--out {out}: expected the name of a {kind} file, such as {out.with_suffix(suffixes[0])}{metrics}"
        )


def show_pictures(cfg: Config, folder: str, interval: int) -> None:
    """Let the test write pictures: mmpretrain's of classification, this package's of segmentation.

    Raises:
        LearngeneError: ``interval`` is less than 1.
    """
    if interval < 1:
        raise LearngeneError(f"--interval {interval}: expected 1 or more")
    if cfg.get("default_scope") == "mmpretrain":
        hook = dict(type="VisualizationHook", enable=True, interval=interval, out_dir=folder)
        cfg.default_hooks = {**(cfg.get("default_hooks") or {}), "visualization": hook}
    else:
        hook = dict(type="mmlearngene.SegPictureHook", folder=folder)
        cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), hook]


def load() -> tuple[argparse.Namespace, Config]:
    """The command line and the config it leads to, once everything that they need has been looked for."""
    parser = Parser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file, or a learngene")
    add_test_arguments(parser)
    args = parser.parse_args()
    check_out(args.out, args.out_item)
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
        show_pictures(cfg, args.show_dir, args.interval)
    if args.amp:
        cfg.test_cfg.fp16 = True
    if args.tta:
        use_tta(cfg)
    return args, prepare(cfg, training=False, loaders=("test_dataloader",))


def main() -> None:
    """Evaluate."""
    args, cfg = load()
    runner = build_runner(cfg)
    if isinstance(runner, FlexibleRunner):  # which builds its model when it tests
        runner.model = runner.strategy.build_model(runner.model)
    if not is_learngene(args.checkpoint):
        check_fit(runner.model, args.checkpoint)
    if args.out and args.out_item == "pred":
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=str(args.out)))
    metrics = runner.test()
    if args.out and args.out_item == "metrics" and is_main_process():
        dump(metrics, args.out)


if __name__ == "__main__":
    run(main)
