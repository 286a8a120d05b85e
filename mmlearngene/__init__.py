"""mmlearngene: Vision Transformers of many sizes, initialised from one learngene.

All names but the error and the version are imported when they are first asked for, as most need torch.
"""

from typing import TYPE_CHECKING

from .errors import LearngeneError
from .utils.lazy import lazy
from .version import __version__

if TYPE_CHECKING:
    from .frameworks import build
    from .learngenes import LEARNGENES, Learngene, load
    from .use.extract import extract
    from .use.initialize import initialize
    from .use.load import load_ancestry
    from .use.report import LoadReport
    from .vit.spec import ViTSpec
    from .vit.weights import ViTWeights

_NAMES = {
    "LEARNGENES": "learngenes",
    "Learngene": "learngenes",
    "LoadReport": "use.report",
    "ViTSpec": "vit.spec",
    "ViTWeights": "vit.weights",
    "build": "frameworks",
    "extract": "use.extract",
    "initialize": "use.initialize",
    "load": "learngenes",
    "load_ancestry": "use.load",
}
_PACKAGES = ("cli", "datasets", "engine", "frameworks", "io", "learngenes", "models", "use", "utils", "vit")
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
__getattr__, __dir__ = lazy(__name__, _NAMES, _PACKAGES)
