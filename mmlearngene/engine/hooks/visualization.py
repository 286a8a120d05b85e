"""Pictures of segmentation: image, truth and prediction side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from ...errors import LearngeneError
from ...registry import HOOKS


@HOOKS.register_module()
class SegPictureHook(Hook):
    """Write one PNG for every image that is tested: the image, the truth and the prediction, class names on them.

    Every process writes those of its images, where mmsegmentation's own hook has pictures of the first one only.

    Args:
        folder: where the pictures go, with the images' names.

    Raises:
        LearngeneError: before the test, if the data set has no classes with colours to draw.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.visualizer = SegLocalVisualizer()

    def before_test(self, runner: Runner) -> None:
        self.meta = runner.test_dataloader.dataset.metainfo
        if not self.meta.get("palette"):
            kind = type(runner.test_dataloader.dataset).__name__
            raise LearngeneError(f"{kind} has no palette: pictures are drawn of mmsegmentation's data sets only")

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[SegDataSample]
    ) -> None:
        for sample in outputs:
            image = mmcv.imread(sample.img_path, channel_order="rgb")
            maps = [sample.gt_sem_seg, sample.pred_sem_seg] if "gt_sem_seg" in sample else [sample.pred_sem_seg]
            # the visualizer's public method works in the first process only
            drawn = [
                self.visualizer._draw_sem_seg(image, of, self.meta["classes"], self.meta["palette"]) for of in maps
            ]
            picture = np.hstack([image, *drawn])
            mmcv.imwrite(mmcv.rgb2bgr(picture), str(self.folder / f"{Path(sample.img_path).stem}.png"))
