"""Weight decay that does not depend on how a learngene stacks its tensors."""

from __future__ import annotations

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from ..learngenes.base import learngenes_in
from ..registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LearngeneOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's default constructor, without weight decay on what is 1-D in the unstacked network.

    A stacked LayerNorm weight is a matrix (layers, channels), so the usual test on ``ndim`` would decay it. Each
    :class:`~mmlearngene.Learngene` in the model names its own exceptions (``no_weight_decay``). ``paramwise_cfg`` is
    honoured for everything else.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        model = getattr(model, "module", model)
        exempt = {
            f"{path}.{name}" if path else name
            for path, learngene in learngenes_in(model)
            for name in learngene.no_weight_decay()
        }
        custom_keys = dict.fromkeys(exempt, dict(decay_mult=0.0))
        self.paramwise_cfg["custom_keys"] = {**custom_keys, **self.paramwise_cfg.get("custom_keys", {})}
        return super().__call__(model)
