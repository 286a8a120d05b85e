"""Descendant h12-l12, frozen, with a linear classifier of its tokens on ADE20K."""

_base_ = ["../_base_/seg/linear.py", "../_base_/seg/ade20k.py", "../_base_/seg/linear_160k.py"]
from mmlearngene.models.seg_sizes import linear

model = linear("h12-l12", **_base_.task)
