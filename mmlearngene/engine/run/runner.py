"""The runner that a config asks for."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import FlexibleRunner, Runner

from ...errors import LearngeneError, did_you_mean
from .device import adapt_to_device


def build_runner(cfg: Config) -> Runner | FlexibleRunner:
    """Build the config's runner: of its ``runner_type``, as OpenMMLab's tools do, or mmengine's usual one.

    Args:
        cfg: a whole config, which is adapted in place to a machine without a GPU.
    """
    adapt_to_device(cfg)
    return RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)


def check_runner(cfg: Config) -> None:
    """Check that there is a runner of the config's ``runner_type``.

    Raises:
        LearngeneError: there is none; names the nearest.
    """
    name = cfg.get("runner_type", "Runner")
    if RUNNERS.get(name) is None:
        known = sorted(RUNNERS.module_dict)
        raise LearngeneError(
            f"runner_type={name!r}: there is no such runner; expected one of {', '.join(known)}, or one of yours that "
            f"custom_imports registers.{did_you_mean(name, known)}"
        )
