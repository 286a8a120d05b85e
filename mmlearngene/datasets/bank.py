"""Two sets of labelled images for judging features: a bank whose labels are known, and queries."""

from __future__ import annotations

from mmengine.dataset import ConcatDataset

from ..errors import LearngeneError
from ..registry import DATASETS


@DATASETS.register_module()
class BankAndQueries(ConcatDataset):
    """The images of a bank and of queries, one after the other; data samples say ``in_bank``.

    Args:
        datasets: configs of the two, of equal classes.
        **kwargs: see ``mmengine.dataset.ConcatDataset``.

    Raises:
        LearngeneError: there are not two.
    """

    def __init__(self, datasets: list[dict], **kwargs) -> None:
        if len(datasets) != 2:
            raise LearngeneError(f"datasets has {len(datasets)} entries; expected two: the bank, and the queries")
        super().__init__(datasets, **kwargs)

    def __getitem__(self, index: int) -> dict:
        which, _ = self._get_ori_dataset_idx(index)
        sample = super().__getitem__(index)
        sample["data_samples"].set_metainfo(dict(in_bank=which == 0))
        return sample
