"""Descendant h6-l12, frozen, with a linear classifier of its tokens on ADE20K."""

_base_ = ["../_base_/seg/linear.py", "../_base_/seg/ade20k.py", "../_base_/seg/linear_160k.py"]
from mmlearngene.recipes import linear, size

arch = size("h6-l12")
model = linear(arch, **_base_.task)
