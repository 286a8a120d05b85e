"""What features are worth without any training of the model that makes them: nearest neighbours and linear layers."""

from __future__ import annotations

import warnings

import numpy as np

NEIGHBOURS = 20


def knn_accuracy(
    bank: np.ndarray, bank_labels: np.ndarray, queries: np.ndarray, labels: np.ndarray, neighbours: int = NEIGHBOURS
) -> float:
    """Top-1 accuracy, in percent, by a vote of the nearest features of a bank, by cosine.

    Args:
        bank: (N, C), features whose labels are known; with fewer of them than ``neighbours`` all vote.
        bank_labels: (N,).
        queries: (M, C).
        labels: (M,), what is to be found.
        neighbours: how many vote.
    """
    from sklearn.neighbors import KNeighborsClassifier

    vote = KNeighborsClassifier(min(neighbours, len(bank)), metric="cosine", algorithm="brute")
    return 100 * float(vote.fit(bank, bank_labels).score(queries, labels))


def linear_predictions(
    bank: np.ndarray, bank_labels: np.ndarray, queries: np.ndarray, strength: float = 1.0
) -> np.ndarray:
    """Labels (M,) by logistic regression on the features of a bank, each channel standardised.

    Args:
        bank: (N, C), features whose labels are known.
        bank_labels: (N,).
        queries: (M, C).
        strength: inverse of the L2 penalty, scikit-learn's ``C``.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 iterations are the probe
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200)).fit(bank, bank_labels)
    return probe.predict(queries)


def linear_accuracy(bank: np.ndarray, bank_labels: np.ndarray, queries: np.ndarray, labels: np.ndarray) -> float:
    """Top-1 accuracy of :func:`linear_predictions`, in percent."""
    return 100 * float((linear_predictions(bank, bank_labels, queries) == labels).mean())


def mean_iou(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Mean intersection over union, in percent, over the classes that are in either."""
    classes = np.unique(np.concatenate((predictions, labels)))
    inside = [np.sum((predictions == c) & (labels == c)) for c in classes]
    either = [np.sum((predictions == c) | (labels == c)) for c in classes]
    return 100 * float(np.mean(np.divide(inside, either)))
