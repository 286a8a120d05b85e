"""Descendant h6-l12 with Segmenter's mask transformer on Pascal Context, 59 classes: the LeTs paper's protocol."""

_base_ = ["../_base_/seg/segmenter.py", "../_base_/seg/pascal_context_59.py", "../_base_/seg/sgd_80k.py"]
from mmlearngene.recipes import segmenter, size

arch = size("h6-l12")
model = segmenter(arch, **_base_.task)
auto_scale_lr = dict(base_batch_size=16)
