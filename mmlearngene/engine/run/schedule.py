"""Schedules that hold for a run of any length."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.logging import print_log

from ..hooks.runner import resumes


def fit_schedule(cfg: Config) -> None:
    """Fit the schedules to ``train_cfg.max_epochs`` or ``max_iters``.

    What would end after the run ends with it. A run that is no longer than its warm-up has none, and starts with what
    comes after it. A run of length 0 validates what it starts from.

    Args:
        cfg: a whole config; changed in place.
    """
    if resumes(cfg.get("resume"), cfg.get("load_from"), cfg.work_dir):
        return
    unit = "max_epochs" if "max_epochs" in cfg.train_cfg else "max_iters"
    length = cfg.train_cfg[unit]
    if length == 0:
        cfg.param_scheduler = None
        hooks = cfg.get("custom_hooks") or []
        if not any(str(hook["type"]).endswith("InitialValHook") for hook in hooks):
            cfg.custom_hooks = [*hooks, dict(type="mmlearngene.InitialValHook")]
        return
    schedulers = cfg.get("param_scheduler") or []
    schedulers = schedulers if isinstance(schedulers, list | tuple) else [schedulers]
    ours = [s for s in schedulers if isinstance(s, dict) and s.get("by_epoch", True) == (unit == "max_epochs")]
    start = max((s.get("begin", 0) for s in ours), default=0)
    if start >= length:
        print_log(f"a run of {unit}={length} has no warm-up of {start}", logger="current")
        cut = [s for s in ours if s.get("begin", 0) < start]
        schedulers = [s for s in schedulers if s not in cut]
        for scheduler in ours:
            scheduler["begin"] = 0
    for scheduler in ours:
        if scheduler.get("end", 0) > length:
            scheduler["end"] = length
    cfg.param_scheduler = list(schedulers)
