"""Descendant h6-l12 with a linear classifier of its tokens, trained end to end, on Pascal Context, 60 classes."""

_base_ = ["../_base_/seg/linear.py", "../_base_/seg/pascal_context.py", "../_base_/seg/adamw_80k.py"]
from mmlearngene.models.seg_sizes import linear_tuned

model = linear_tuned("h6-l12", **_base_.task)
