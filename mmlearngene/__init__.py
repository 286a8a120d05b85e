"""mmlearngene: Vision Transformers of any size, initialised from one compact learngene."""

from .errors import LearngeneError
from .frameworks import build
from .learngenes import LEARNGENES, Learngene, load
from .use.ancestry import extract, load_ancestry
from .use.initialize import LoadReport, initialize
from .version import __version__
from .vit.spec import ViTSpec
from .vit.weights import ViTWeights

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
