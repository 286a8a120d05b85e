"""Gradient checkpointing of a ViT backbone of any depth, frozen layers or not."""

from __future__ import annotations

from functools import partial

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.checkpoint import checkpoint

from ...errors import LearngeneError
from ...registry import HOOKS
from .runner import unwrapped


@HOOKS.register_module()
class GradientCheckpointingHook(Hook):
    """Keep only the input of every backbone layer; the backward pass computes what is inside again.

    Less memory for about a third more time, and the same gradients. Unlike mmengine's ``activation_checkpointing`` it
    need not be told the layers, and it trains what comes after frozen layers (it is not reentrant).

    Raises:
        LearngeneError: before training, if the model has no backbone with ``layers``.
    """

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner)
        layers = getattr(getattr(model, "backbone", None), "layers", None)
        if layers is None:
            raise LearngeneError(
                f"GradientCheckpointingHook: {type(model).__name__} has no backbone with layers; expected "
                "backbone=dict(type='mmpretrain.VisionTransformer', ...); a Swin has the option with_cp=True"
            )
        for layer in layers:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
