"""A part of a classification set: how much data a learngene saves (Cluster-Learngene, Table 3)."""

from __future__ import annotations

import numpy as np
from mmengine.dataset import BaseDataset

from ..errors import LearngeneError
from ..registry import DATASETS


@DATASETS.register_module()
def BalancedSubset(dataset: dict, share: float, seed: int = 0) -> BaseDataset:  # noqa: N802  (a type in configs)
    """A data set with the same share of the images of every class, at least one of each.

    The same seed gives the same images, and of two shares the smaller one's are among the larger one's.

    Args:
        dataset: config of a classification set.
        share: in (0, 1].
        seed: of the draw.

    Raises:
        LearngeneError: the share is out of range, or the set has no labels.
    """
    check_share(share, "share")
    built = DATASETS.build(dataset)
    built.full_init()
    labels = [built.get_data_info(index).get("gt_label") for index in range(len(built))]
    if None in labels:
        raise LearngeneError(f"a balanced subset needs labels, which {type(built).__name__} has not")
    labels, chosen = np.asarray(labels), []
    numbers = np.random.default_rng(seed)
    for label in np.unique(labels):
        own = numbers.permutation(np.flatnonzero(labels == label))
        chosen += own[: max(1, round(share * len(own)))].tolist()
    return built.get_subset(sorted(chosen))


def check_share(share: object, name: str) -> None:
    """Raise LearngeneError, naming the option, if it is no share of the data."""
    if not isinstance(share, int | float) or isinstance(share, bool) or not 0 < share <= 1:
        number = isinstance(share, int | float) and share > 1
        raise LearngeneError(
            f"{name}={share}: expected a share of the training images above 0 and up to 1; "
            f"the nearest of the paper's is {1.0 if number else 0.25}"
        )
