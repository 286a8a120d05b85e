"""Descendant h6-l12 with a linear classifier of its tokens, trained end to end, on ADE20K."""

_base_ = ["../_base_/seg/linear.py", "../_base_/seg/ade20k.py", "../_base_/seg/adamw_160k.py"]
from mmlearngene.models.seg_sizes import linear_tuned

model = linear_tuned("h6-l12", **_base_.task)
