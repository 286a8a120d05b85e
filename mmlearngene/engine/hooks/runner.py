"""What hooks ask of a runner."""

from __future__ import annotations

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, find_latest_checkpoint
from torch import nn


def unwrapped(runner: Runner) -> nn.Module:
    """The runner's model itself, also where several processes train it."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def resumes(resume: bool, load_from: str | None, work_dir: str) -> bool:
    """Whether a run goes on from a checkpoint; ``--resume`` in an empty ``work_dir`` starts anew."""
    return bool(resume and (load_from or find_latest_checkpoint(work_dir)))


def normalisation_of(model: nn.Module) -> dict:
    """Mean and deviation of each channel that a model's preprocessor normalises by, in images scaled to [0, 1]."""
    own = getattr(model, "data_preprocessor", None)
    if not getattr(own, "_enable_normalize", False):
        return {}
    return {name: (getattr(own, name).flatten() / 255).tolist() for name in ("mean", "std")}
