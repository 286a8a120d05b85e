"""Layer-wise decay of the learning rate for any model with a plain ViT as its backbone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from torch import nn

from ..registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(LearningRateDecayOptimWrapperConstructor):
    """mmpretrain's layer decay, which asks the model for the depth of a parameter, for models that cannot say.

    mmsegmentation's segmentors have no ``get_layer_depth``, and its own constructor knows only ConvNeXt, BEiT and MAE
    by their class names and needs the depth in the config. Here the backbone is asked, so any depth works. Neck and
    heads have the full learning rate. ``paramwise_cfg`` is mmpretrain's: ``layer_decay_rate``, ``norm_decay_mult``, ...
    """

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = "", get_layer_depth: Callable | None = None, **kwargs
    ) -> None:
        """Add the parameter groups of ``module``, see mmpretrain's constructor."""
        if get_layer_depth is None:
            get_layer_depth = partial(module.backbone.get_layer_depth, prefix="backbone.")
        super().add_params(params, module, prefix, get_layer_depth, **kwargs)
