"""mmlearngene: Vision Transformers of any size, initialised from one compact learngene."""

from .ancestry import extract, load_ancestry
from .errors import LearngeneError
from .initialize import LoadReport, initialize
from .layouts import build
from .learngenes import LEARNGENES, Learngene, load
from .spec import ViTSpec
from .version import __version__
from .weights import ViTWeights

__all__ = [
    "LEARNGENES",
    "Learngene",
    "LearngeneError",
    "LoadReport",
    "ViTSpec",
    "ViTWeights",
    "__version__",
    "build",
    "extract",
    "initialize",
    "load",
    "load_ancestry",
]
