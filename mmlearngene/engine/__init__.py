"""mmengine parts: initialisation, export of learngenes, optimizer groups, randomness."""

from .. import registry  # noqa: F401, I001  (first: it says what to install where OpenMMLab is missing)
from .hooks.budget import BudgetHook
from .hooks.checkpoints import ResumedValHook, SafeCheckpointHook
from .feature_metrics import KNN, LinearProbe, TeacherCosine
from .hooks.finite import FiniteHook
from .hooks.gradient_checkpointing import GradientCheckpointingHook
from .hooks.initial_val import InitialValHook
from .hooks.learngene_export import LearngeneExportHook
from .hooks.learngene_init import LearngeneInitHook
from .init import LearngeneInit
from .layer_decay import LayerDecayOptimWrapperConstructor
from .optim import LearngeneOptimWrapperConstructor
from .hooks.randomness import SeedHook
from .hooks.redraw import RedrawHook
from .hooks.sizes_val import SizesValHook

__all__ = [
    "KNN",
    "BudgetHook",
    "FiniteHook",
    "GradientCheckpointingHook",
    "InitialValHook",
    "LayerDecayOptimWrapperConstructor",
    "LearngeneExportHook",
    "LearngeneInit",
    "LearngeneInitHook",
    "LearngeneOptimWrapperConstructor",
    "LinearProbe",
    "RedrawHook",
    "ResumedValHook",
    "SafeCheckpointHook",
    "SeedHook",
    "SizesValHook",
    "TeacherCosine",
]
