"""Validate before training."""

from __future__ import annotations

from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner

from ...registry import HOOKS


@HOOKS.register_module()
class InitialValHook(Hook):
    """Validate once before training starts: what an initialisation is worth without any tuning (the papers' "0 ep")."""

    priority = "LOWEST"  # after CheckpointHook knows where the best checkpoint goes

    def before_train(self, runner: Runner) -> None:
        if runner.iter or runner.val_loop is None:  # as with --no-validate
            return
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):  # its copy is older than init_cfg's weights, and averages from step 1 on
                hook.ema_model.module.load_state_dict(hook.src_model.state_dict())
        runner.val_loop.run()
