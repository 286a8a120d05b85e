"""mmengine parts: initialisation of models, export of learngenes, weight decay, resumable randomness."""

from .hooks import EpochSeedHook, InitialValHook, LearngeneExportHook, LearngeneInitHook
from .init import LearngeneInit
from .optim import LearngeneOptimWrapperConstructor

__all__ = [
    "EpochSeedHook",
    "InitialValHook",
    "LearngeneExportHook",
    "LearngeneInit",
    "LearngeneInitHook",
    "LearngeneOptimWrapperConstructor",
]
