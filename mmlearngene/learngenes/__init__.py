"""The methods: one file each, with a :class:`Learngene` that knows how to ``expand``; their facts are in ``facts``.

All names are imported when they are first asked for, as most need torch.
"""

from typing import TYPE_CHECKING

from ..utils.lazy import lazy

if TYPE_CHECKING:
    from . import cluster, controls, lets, peg, principal, sws, tleg
    from .base import Learngene, StackedLearngene, TensorTree
    from .extracted import Extracted
    from .methods import LEARNGENES, register
    from .read import load

_MODULES = ("cluster", "controls", "lets", "peg", "principal", "sws", "tleg")
_NAMES = {
    "LEARNGENES": "methods",
    "Extracted": "extracted",
    "Learngene": "base",
    "StackedLearngene": "base",
    "TensorTree": "base",
    "load": "read",
    "register": "methods",
}
__all__ = [
    "LEARNGENES",
    "Extracted",
    "Learngene",
    "StackedLearngene",
    "TensorTree",
    "cluster",
    "controls",
    "lets",
    "load",
    "peg",
    "principal",
    "register",
    "sws",
    "tleg",
]
__getattr__, __dir__ = lazy(__name__, _NAMES, _MODULES)
