"""Descendant h6-l12 with Segmenter's mask transformer on Cityscapes: the LeTs paper's protocol."""

_base_ = ["../_base_/seg/segmenter.py", "../_base_/seg/cityscapes.py", "../_base_/seg/sgd_80k.py"]
from mmlearngene.recipes import segmenter, size

arch = size("h6-l12")
model = segmenter(arch, **_base_.task)
train_dataloader = dict(batch_size=1)
optim_wrapper = dict(optimizer=dict(lr=1e-2))
