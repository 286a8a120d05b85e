"""PEG's mixtures drawn anew in every epoch, as its Algorithm 1 does."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...learngenes.peg import PEG
from ...registry import HOOKS
from .runner import unwrapped


@HOOKS.register_module()
class RedrawHook(Hook):
    """Draw the mixtures of every PEG learngene in the model anew before each epoch.

    The draw follows from the learngene's seed and the epoch, so a resumed run draws what an uninterrupted one does. The
    learngene must have been extracted with ``redraw=True`` in the same run.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        for module in unwrapped(runner).modules():
            if isinstance(module, PEG):
                module.draw(runner.epoch)
