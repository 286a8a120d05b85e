"""The embedded digits: small real sets for the demo and for tests, without a download."""

from .. import registry  # noqa: F401, I001  (first: it says what to install where OpenMMLab is missing)
from .digits import DigitsClassification, DigitsSegmentation

__all__ = ["DigitsClassification", "DigitsSegmentation"]
