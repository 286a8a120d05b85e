"""Descendant h6-l12, frozen, with a linear classifier of its tokens on Pascal Context, 60 classes."""

_base_ = ["../_base_/seg/linear.py", "../_base_/seg/pascal_context.py", "../_base_/seg/linear_80k.py"]
from mmlearngene.recipes import linear, size

arch = size("h6-l12")
model = linear(arch, **_base_.task)
