"""PyTorch's FSDP2 as a strategy of mmengine's ``FlexibleRunner``."""

from __future__ import annotations

from collections.abc import Callable

from mmengine._strategy.distributed import DDPStrategy
from mmengine.device import get_device
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from ..registry import STRATEGIES

_GATHER = StateDictOptions(full_state_dict=True, cpu_offload=True)


@STRATEGIES.register_module()
class FSDP2Strategy(DDPStrategy):
    """Share parameters, gradients and the optimizer's state among the processes, with torch's ``fully_shard``.

    The model is one group: all parameters are gathered when its forward begins, and a process keeps its share of the
    gradients when the backward ends. That is what a learngene in training needs. Its expansion computes every layer
    from all of the learngene's tensors, so that it has to run on whole ones; on shards each product would gather its
    operands by itself. The result is that of one process, or of ``DistributedDataParallel``, at the same global batch.

    Checkpoints are those of other strategies: whole tensors, written by the first process, read by any.

    ``runner_type="FlexibleRunner"`` and ``strategy=dict(type="mmlearngene.FSDP2Strategy")`` in a config use it.

    Args:
        **kwargs: see mmengine's ``DDPStrategy``, whose ``model_wrapper`` has no use here.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self._gathered: tuple[dict, dict | None] | None = None

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if isinstance(model, FSDPModule):
            return model
        import torch.distributed as dist

        device = get_device()
        model = self.convert_model(model.to(device))
        return fully_shard(model, mesh=init_device_mesh(device, (dist.get_world_size(),)))

    # gathering takes all processes, so it comes before what the first one alone does
    def save_checkpoint(self, filename: str, *, save_optimizer: bool = True, **kwargs) -> None:
        optimizer = self.optim_state_dict() if save_optimizer and hasattr(self, "optim_wrapper") else None
        self._gathered = self.model_state_dict(), optimizer
        try:
            super().save_checkpoint(filename, save_optimizer=save_optimizer, **kwargs)
        finally:
            self._gathered = None

    def model_state_dict(self) -> dict:
        return self._gathered[0] if self._gathered else get_model_state_dict(self.model, options=_GATHER)

    def optim_state_dict(self) -> dict:
        if self._gathered:
            return self._gathered[1]
        return get_optimizer_state_dict(self.model, self.optim_wrapper.optimizer, options=_GATHER)

    def load_model_state_dict(self, state_dict: dict, *, strict: bool = False, **kwargs) -> None:
        state_dict = {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}
        set_model_state_dict(self.model, state_dict, options=StateDictOptions(full_state_dict=True, strict=strict))

    def load_optim_state_dict(self, state_dict: dict, callback: Callable | None = None) -> None:
        options = StateDictOptions(full_state_dict=True)
        set_optimizer_state_dict(self.model, self.optim_wrapper.optimizer, state_dict, options=options)
