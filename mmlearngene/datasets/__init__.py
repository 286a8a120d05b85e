"""The embedded digits, small real sets for the demo and for tests without a download; and parts of any set."""

from .. import registry  # noqa: F401, I001  (first: it says what to install where OpenMMLab is missing)
from .bank import BankAndQueries
from .decode import LoadRandomResizedCrop
from .digits import DigitsClassification, DigitsSegmentation
from .subset import BalancedSubset

__all__ = ["BalancedSubset", "BankAndQueries", "DigitsClassification", "DigitsSegmentation", "LoadRandomResizedCrop"]
