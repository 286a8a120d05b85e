"""What a training of a learngene costs, said before it is spent."""

from __future__ import annotations

import logging
import time

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ...models import AuxNet
from ...registry import HOOKS
from .runner import unwrapped

_WARM_UP, _TIMED = 5, 10  # steps
_PATIENCE = 60  # seconds, after which fewer steps have to do


@HOOKS.register_module()
class BudgetHook(Hook):
    """Say how many images a training of a learngene will see, and, after some steps, how long it will take.

    Trainings of other models are passed over.

    Args:
        advised: images that the docs' studies needed at least; a training that sees fewer is warned.
    """

    def __init__(self, advised: int | None = None) -> None:
        self.advised = advised
        self._first: int | None = None  # the step that the run starts with, until all is said

    def before_train(self, runner: Runner) -> None:
        if not any(isinstance(module, AuxNet) for module in unwrapped(runner).modules()):
            return
        loader, steps = runner.train_dataloader, runner.max_iters
        batch = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None)
        if not batch:  # a sampler of its own, which draws any number
            return
        seen, images = steps * batch * get_world_size(), len(loader.dataset)
        passes = f"{seen / max(images, 1):.3g} passes over {images:,}"
        print_log(f"this training sees {seen:,} images in {steps:,} steps ({passes})", logger="current")
        if self.advised and seen < self.advised:
            print_log(
                f"fewer than {self.advised:,} images, the least that gave good features in the docs' studies: what is "
                "trained may be worse than what it starts from. `mmlearngene probe TRAINED --start BEFORE` tells; a "
                "principal learngene needs no training",
                logger="current",
                level=logging.WARNING,
            )
        self._first = runner.iter

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._first is None:
            return
        step, now = runner.iter + 1 - self._first, time.monotonic()
        left = runner.max_iters - runner.iter - 1
        if step in (1, _WARM_UP):  # the first steps of all are slow, and better than none
            self._since, self._started = step, now
        elif step == _WARM_UP + _TIMED or now - self._started > _PATIENCE:
            minutes = left * (now - self._started) / (step - self._since) / 60
            print_log(f"about {minutes:.2g} minutes for the {left:,} steps left, without evaluation", logger="current")
            self._first = None
