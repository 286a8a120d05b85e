"""Evaluate a checkpoint: `tools/test.py CONFIG CHECKPOINT`, with OpenMMLab's usual flags."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import dump
from mmengine.model import is_model_wrapper
from mmengine.runner import CheckpointLoader, Runner
from torch import nn

from mmlearngene import LearngeneError
from mmlearngene.engine.classes import follow_classes
from mmlearngene.engine.data_check import check_data
from mmlearngene.engine.device import adapt_to_device
from mmlearngene.engine.init_check import check_teachers, drop_pretrained
from mmlearngene.engine.launch import add_arguments, first_on_this_machine, load_config, run


def check_fit(model: nn.Module, path: str) -> None:
    """Check that a checkpoint's tensors have the model's shapes; mmengine would leave others at their start values.

    Raises:
        LearngeneError: names the first that has not.
    """
    saved = CheckpointLoader.load_checkpoint(path, map_location="cpu")
    saved = saved.get("state_dict", saved)
    for name, tensor in (model.module if is_model_wrapper(model) else model).state_dict().items():
        if name in saved and saved[name].shape != tensor.shape:
            raise LearngeneError(
                f"{path} does not fit the config: {name} is {tuple(saved[name].shape)} there and {tuple(tensor.shape)} "
                "in the model; expected the config, the size and the classes that it was trained with"
            )


def main() -> None:
    """Evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument(
        "--show-dir", help="segmentation: write image, truth and prediction side by side to this folder"
    )
    parser.add_argument("--out", type=Path, help="write the metrics to this JSON file")
    args = parser.parse_args()
    if args.out and (args.out.suffix != ".json" or args.out.is_dir()):
        parser.error(f"--out {args.out}: expected the name of a JSON file, such as {args.out.with_suffix('.json')}")
    if "://" not in args.checkpoint and not Path(args.checkpoint).is_file():
        parser.error(f"no such checkpoint: {args.checkpoint}")
    cfg = load_config(args)
    cfg.load_from = args.checkpoint
    if args.show_dir:
        pictures = dict(type="mmlearngene.SegPictureHook", folder=args.show_dir)
        cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), pictures]
    drop_pretrained(cfg)
    if first_on_this_machine():
        check_teachers(cfg)
        check_data(cfg, loaders=("test_dataloader",))
    follow_classes(cfg)
    runner = Runner.from_cfg(adapt_to_device(cfg))
    check_fit(runner.model, args.checkpoint)
    metrics = runner.test()
    if args.out and is_main_process():
        dump(metrics, args.out)


if __name__ == "__main__":
    run(main)
