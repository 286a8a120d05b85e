"""mmengine parts: initialisation, export of learngenes, optimizer groups, randomness."""

from .. import registry  # noqa: F401, I001  (first: it says what to install where OpenMMLab is missing)
from .budget import BudgetHook
from .checkpoints import ResumedValHook, SafeCheckpointHook
from .feature_metrics import KNN, LinearProbe, TeacherCosine
from .finite import FiniteHook
from .gradient_checkpointing import GradientCheckpointingHook
from .hooks import InitialValHook, LearngeneExportHook, LearngeneInitHook
from .init import LearngeneInit
from .layer_decay import LayerDecayOptimWrapperConstructor
from .optim import LearngeneOptimWrapperConstructor
from .randomness import SeedHook
from .redraw import RedrawHook
from .sizes_val import SizesValHook

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
