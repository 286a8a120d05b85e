"""What is looked for and settled in a config before anything is built, in one order for every tool."""

from __future__ import annotations

from mmengine.config import Config

from ...datasets.data_check import LOADERS, check_data
from .classes import follow_classes
from .init_check import (
    check_learngenes,
    check_starts,
    check_teachers,
    drop_learngenes_if_loaded,
    drop_learngenes_if_resumed,
    drop_pretrained,
)
from .launch import is_to_check
from .runner import check_runner
from .schedule import fit_schedule


def prepare(cfg: Config, training: bool = True, loaders: tuple[str, ...] = LOADERS, look: bool | None = None) -> Config:
    """Look for all that a run needs, then settle classes and schedule.

    Args:
        cfg: a whole config; changed in place.
        training: whether the run trains; a test needs no learngenes and has no schedule.
        loaders: the data loaders that the run reads.
        look: whether to look for files; by default one process of a machine does.

    Returns:
        The config.

    Raises:
        LearngeneError: something is missing or does not fit, in one line.
    """
    look = is_to_check() if look is None else look
    check_runner(cfg)
    drop_pretrained(cfg)
    if training:
        drop_learngenes_if_resumed(cfg)
    else:
        drop_learngenes_if_loaded(cfg)
    if look and training:
        check_learngenes(cfg)
    if look:
        check_teachers(cfg)
        check_data(cfg, loaders)
    follow_classes(cfg)
    if look and training:
        check_starts(cfg)
    if training:
        fit_schedule(cfg)
    return cfg
