"""Control h6-l12: from scratch for 100 epochs, what one epoch of tuning a LeTs descendant is compared with."""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/datasets/imagenet_deit_repeated.py",
    "../_base_/schedules/deit_300e.py",
    "../_base_/runtime.py",
]
from mmlearngene.recipes import descendant, size

arch = size("h6-l12")
model = descendant(arch, init_cfg=None)
train_cfg = dict(max_epochs=100)
