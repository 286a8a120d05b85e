"""Descendant h6-l12 with UperNet on Pascal Context, 59 classes."""

_base_ = ["../_base_/seg/upernet.py", "../_base_/seg/pascal_context_59.py", "../_base_/seg/adamw_80k.py"]
from mmlearngene.recipes import size, upernet

arch = size("h6-l12")
model = upernet(arch, **_base_.task)
