"""Learngenes as configs name them: a method (``dict(type='LeTs', ...)``), a file, or an extraction."""

import logging

from ..learngenes import LEARNGENES, Learngene, load
from ..registry import MODELS
from ..use.extract import extract

_LOGGER = logging.getLogger("mmlearngene")


def _make_config_type(cls: type[Learngene]) -> None:
    """``dict(type='LeTs')`` for a method's class, one from outside as well."""
    other = MODELS.module_dict.get(cls.__name__)
    if other is not None and not issubclass(other, Learngene):
        _LOGGER.warning("%s.%s is no type in configs: the name is taken", cls.__module__, cls.__name__)
        return
    MODELS.register_module(module=cls, force=True)


LEARNGENES.watch(_make_config_type)
MODELS.register_module(name="LoadLearngene", module=load)
MODELS.register_module(name="ExtractLearngene", module=extract)
