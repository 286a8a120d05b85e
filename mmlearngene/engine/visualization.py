"""Pictures of segmentation: image, truth and prediction side by side."""

from __future__ import annotations

from functools import partialmethod

from mmseg.visualization import SegLocalVisualizer

from ..registry import VISUALIZERS


@VISUALIZERS.register_module()
class SegTripletVisualizer(SegLocalVisualizer):
    """mmsegmentation's visualizer with its ``with_image`` on, which its hook has no way to ask for."""

    add_datasample = partialmethod(SegLocalVisualizer.add_datasample, with_image=True)
