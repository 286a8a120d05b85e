"""Descendant h12-l12 with UperNet on Cityscapes."""

_base_ = ["../_base_/seg/upernet.py", "../_base_/seg/cityscapes.py", "../_base_/seg/adamw_80k.py"]
from mmlearngene.models.seg_sizes import upernet

model = upernet("h12-l12", **_base_.task)
