"""Initialise a model from a learngene before training."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from ...registry import HOOKS
from ..init import FromLearngene
from .runner import resumes, unwrapped


@HOOKS.register_module()
class LearngeneInitHook(FromLearngene, Hook):
    """Initialise the model's ViT, or the learngene that it trains, from a learngene file before training.

    A config's model needs no change.

    It runs after the model's own ``init_weights``, and before EMA copies the model and before a checkpoint is loaded;
    a resumed run, and the test of a checkpoint, are left alone.

    Args:
        checkpoint: the learngene file.
        min_inherited: see :func:`mmlearngene.initialize`.
        head: see :func:`mmlearngene.initialize`.
        **options: options of the method's expansion.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Runner) -> None:
        tested = runner._load_from and not isinstance(runner._train_loop, BaseLoop)
        if tested or resumes(runner._resume, runner._load_from, runner.work_dir):
            return
        # The Runner calls init_weights only after this point, and calling it again does nothing: so do it here, first.
        model = unwrapped(runner)
        if hasattr(model, "init_weights"):
            model.init_weights()
        self.initialize(model)
