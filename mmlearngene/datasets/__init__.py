"""The embedded digits: small real sets for the demo and for tests, without a download."""

from .digits import DigitsClassification, DigitsSegmentation

__all__ = ["DigitsClassification", "DigitsSegmentation"]
