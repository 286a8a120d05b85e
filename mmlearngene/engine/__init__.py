"""mmengine parts: initialisation, export of learngenes, optimizer groups, randomness."""

from .hooks import EpochSeedHook, InitialValHook, LearngeneExportHook, LearngeneInitHook
from .init import LearngeneInit
from .layer_decay import LayerDecayOptimWrapperConstructor
from .optim import LearngeneOptimWrapperConstructor
from .redraw import RedrawHook

__all__ = [
    "EpochSeedHook",
    "InitialValHook",
    "LayerDecayOptimWrapperConstructor",
    "LearngeneExportHook",
    "LearngeneInit",
    "LearngeneInitHook",
    "LearngeneOptimWrapperConstructor",
    "RedrawHook",
]
