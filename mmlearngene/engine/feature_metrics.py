"""Evaluators of a learngene that is distilled from tokens: entries of ``val_evaluator``.

Under :class:`SizesValHook` each of them measures every size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from torch import Tensor

from ..errors import LearngeneError
from ..registry import METRICS
from ..use.probes import NEIGHBOURS, knn_accuracy, linear_accuracy


@METRICS.register_module()
class TeacherCosine(BaseMetric):
    """Mean cosine of the student's tokens, projected, to the teacher's: ``cosine/summary`` and ``cosine/patches``."""

    default_prefix = "cosine"

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        self.results += [sample.get("cosine") for sample in data_samples]

    def compute_metrics(self, results: list[dict | None]) -> dict[str, float]:
        found = [result for result in results if result is not None]
        if not found:
            raise LearngeneError("TeacherCosine: no cosines; expected a LearngeneDistiller with features=[...]")
        return {name: float(np.mean([result[name] for result in found])) for name in ("summary", "patches")}


class _Probe(BaseMetric):
    """Collects the features of a bank and of queries, see :class:`mmlearngene.BankAndQueries`."""

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            if "feature" not in sample or "gt_label" not in sample or "in_bank" not in sample:
                raise LearngeneError(
                    f"{type(self).__name__} needs features of labelled images of a bank and of others; expected a "
                    "LearngeneDistiller with features=[...], and dict(type='mmlearngene.BankAndQueries', "
                    "datasets=[bank, queries]) as the loader's dataset"
                )
            feature: Tensor = sample["feature"]
            self.results.append((feature.float().cpu().numpy(), int(sample["gt_label"]), bool(sample["in_bank"])))

    def compute_metrics(self, results: list[tuple[np.ndarray, int, bool]]) -> dict[str, float]:
        features = np.stack([feature for feature, _, _ in results])
        labels, in_bank = (np.array([result[i] for result in results]) for i in (1, 2))
        if in_bank.all() or not in_bank.any():
            raise LearngeneError(f"{type(self).__name__}: expected images of a bank and of others, both")
        return dict(top1=self.score(features[in_bank], labels[in_bank], features[~in_bank], labels[~in_bank]))

    def score(self, bank: np.ndarray, bank_labels: np.ndarray, queries: np.ndarray, labels: np.ndarray) -> float:
        """Accuracy in percent."""
        raise NotImplementedError


@METRICS.register_module()
class KNN(_Probe):
    """Accuracy by the nearest features of a bank, ``knn/top1``: see :func:`mmlearngene.use.probes.knn_accuracy`.

    Args:
        neighbours: how many vote.
        **kwargs: see ``mmengine.evaluator.BaseMetric``.
    """

    default_prefix = "knn"

    def __init__(self, neighbours: int = NEIGHBOURS, **kwargs) -> None:
        super().__init__(**kwargs)
        self.neighbours = neighbours

    def score(self, *features_and_labels: np.ndarray) -> float:
        return knn_accuracy(*features_and_labels, neighbours=self.neighbours)


@METRICS.register_module()
class LinearProbe(_Probe):
    """Accuracy of a linear layer on features, ``linear/top1``: see :func:`mmlearngene.use.probes.linear_accuracy`."""

    default_prefix = "linear"

    def score(self, *features_and_labels: np.ndarray) -> float:
        return linear_accuracy(*features_and_labels)
