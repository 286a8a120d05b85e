"""Descendant h6-l12 with a linear classifier of its tokens, trained end to end, on ADE20K."""

_base_ = ["../_base_/seg/linear.py", "../_base_/seg/ade20k.py", "../_base_/seg/adamw_160k.py"]
from mmlearngene.recipes import linear_tuned, size

arch = size("h6-l12")
model = linear_tuned(arch, **_base_.task)
