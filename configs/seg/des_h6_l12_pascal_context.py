"""Descendant h6-l12 with UperNet on Pascal Context, 60 classes."""

_base_ = ["../_base_/seg/upernet.py", "../_base_/seg/pascal_context.py", "../_base_/seg/adamw_80k.py"]
from mmlearngene.models.seg_sizes import upernet

model = upernet("h6-l12", **_base_.task)
