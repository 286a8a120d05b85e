"""Controls: what a learngene has to beat. The same interface, so that one word in a command or config swaps them.

Each is extracted from an ancestry: ``extract('first-k', ancestry)``. Sources and options: ``docs/controls.md``.
"""

from .auto_learngene import AutoLearngene
from .first_k import FirstK
from .front import FRONT
from .heuristic import Heuristic
from .mimetic import Mimetic
from .pre_fin import PreFin
from .scratch import Scratch
from .uniform_k import UniformK
from .weight_selection import WeightSelection

__all__ = [
    "FRONT",
    "AutoLearngene",
    "FirstK",
    "Heuristic",
    "Mimetic",
    "PreFin",
    "Scratch",
    "UniformK",
    "WeightSelection",
]
