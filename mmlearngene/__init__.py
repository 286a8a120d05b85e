"""mmlearngene: Vision Transformers of any size, initialised from one compact learngene."""

from .errors import LearngeneError
from .initialize import LoadReport, initialize
from .learngenes import LEARNGENES, Learngene, load
from .swin import SwinSpec
from .version import __version__
from .vit import ViTSpec, ViTWeights

__all__ = [
    "LEARNGENES",
    "Learngene",
    "LearngeneError",
    "LoadReport",
    "SwinSpec",
    "ViTSpec",
    "ViTWeights",
    "__version__",
    "initialize",
    "load",
]
