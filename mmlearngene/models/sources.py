"""Learngenes that a config does not build from nothing: ``dict(type='LoadLearngene', path=...)``, for example."""

from ..ancestry import extract
from ..learngenes import load
from ..registry import MODELS

MODELS.register_module(name="LoadLearngene", module=load)
MODELS.register_module(name="ExtractLearngene", module=extract)
