"""Descendant h12-l12, frozen, with a linear classifier of its tokens on Cityscapes."""

_base_ = ["../_base_/seg/linear.py", "../_base_/seg/cityscapes.py", "../_base_/seg/linear_80k.py"]
from mmlearngene.models.seg_sizes import linear

model = linear("h12-l12", **_base_.task)
