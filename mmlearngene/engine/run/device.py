"""Run a config written for GPUs on a machine without one."""

from __future__ import annotations

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log


def adapt_to_device(cfg: Config) -> Config:
    """Without a GPU, replace in ``cfg`` SyncBN, mixed precision and NCCL by what runs there, and say so.

    They become each process's own batch norm (:class:`~mmlearngene.models.SingleBatchNorm`), float32 and gloo.
    """
    if torch.cuda.is_available():
        return cfg
    changed = _replace(
        cfg._cfg_dict, "type", {"SyncBN": "mmlearngene.SingleBatchNorm", "AmpOptimWrapper": "OptimWrapper"}
    )
    changed |= _replace(cfg._cfg_dict, "backend", {"nccl": "gloo"})
    optim = cfg.get("optim_wrapper") or {}
    if optim.get("type") == "OptimWrapper":
        for amp_only in ("loss_scale", "dtype", "use_fsdp"):
            optim.pop(amp_only, None)
    if cfg.get("launcher", "none") != "none":
        _use_gloo(cfg)
    if changed:
        print_log(f"no GPU: {', '.join(sorted(changed))}", logger="current")
    return cfg


def _use_gloo(cfg: Config) -> None:
    """Start the processes here and wrap without ``device_ids``: mmengine names a CUDA device in both steps."""
    if cfg.launcher == "pytorch" and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    if cfg.get("runner_type") == "FlexibleRunner" and not cfg.get("strategy"):
        wrapped = dict(type="MMDistributedDataParallel", broadcast_buffers=False, device_ids=None)
        cfg.strategy = dict(type="DDPStrategy", model_wrapper=wrapped)
    wrapper = dict(broadcast_buffers=False, find_unused_parameters=cfg.get("find_unused_parameters", False))
    cfg.model_wrapper_cfg = {
        "type": "MMDistributedDataParallel",
        **(cfg.get("model_wrapper_cfg") or wrapper),
        "device_ids": None,
    }


def _replace(node: ConfigDict | list | tuple, key: str, values: dict[str, str]) -> set[str]:
    """Replace values of ``key`` anywhere below ``node``; returns what was replaced by what."""
    changed = set()
    if isinstance(node, dict):
        if isinstance(node.get(key), str) and node[key] in values:
            changed.add(f"{node[key]} -> {values[node[key]]}")
            node[key] = values[node[key]]
        node = list(node.values())
    for child in node:
        if isinstance(child, dict | list | tuple):
            changed |= _replace(child, key, values)
    return changed
