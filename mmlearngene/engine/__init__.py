"""mmengine parts: initialisation, export of learngenes, optimizer groups, randomness, data checks, pictures."""

from .hooks import EpochSeedHook, InitialValHook, LearngeneExportHook, LearngeneInitHook
from .init import LearngeneInit
from .layer_decay import LayerDecayOptimWrapperConstructor
from .optim import LearngeneOptimWrapperConstructor
from .visualization import SegTripletVisualizer

__all__ = [
    "EpochSeedHook",
    "InitialValHook",
    "LayerDecayOptimWrapperConstructor",
    "LearngeneExportHook",
    "LearngeneInit",
    "LearngeneInitHook",
    "LearngeneOptimWrapperConstructor",
    "SegTripletVisualizer",
]
