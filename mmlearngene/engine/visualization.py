"""Pictures of segmentation: image, truth and prediction side by side."""

from __future__ import annotations

import numpy as np
from mmseg.visualization import SegLocalVisualizer

from ..registry import VISUALIZERS


@VISUALIZERS.register_module()
class SegTripletVisualizer(SegLocalVisualizer):
    """mmsegmentation's visualizer, which draws truth and prediction, with the image itself before them."""

    _source: np.ndarray | None = None

    def add_datasample(self, name: str, image: np.ndarray, *args, **kwargs) -> None:
        """As mmsegmentation's; ``image`` is H x W x 3, RGB."""
        self._source = image
        super().add_datasample(name, image, *args, **kwargs)
        self._source = None

    def add_image(self, name: str, image: np.ndarray, step: int = 0) -> None:
        """Store a picture, with the image of the data sample that is being drawn on its left."""
        super().add_image(name, image if self._source is None else np.hstack([self._source, image]), step)
