"""Descendant h6-l12 with UperNet on ADE20K."""

_base_ = ["../_base_/seg/upernet.py", "../_base_/seg/ade20k.py", "../_base_/seg/adamw_160k.py"]
from mmlearngene.recipes import size, upernet

arch = size("h6-l12")
model = upernet(arch, **_base_.task)
