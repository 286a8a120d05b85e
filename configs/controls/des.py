"""Controls: what all share. A descendant h6-l9 of a DeiT-S ancestry, so with class token, 5 epochs on ImageNet-1K.

A control needs its file, made from the ancestry in a second (METHOD as in the config's name):

    mmlearngene extract --method METHOD --ancestry deit_small_patch16_224 -o work_dirs/controls/METHOD.safetensors
"""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/datasets/imagenet_deit.py",
    "../_base_/schedules/tune_5e.py",
    "../_base_/runtime.py",
]
from mmlearngene.recipes import descendant, size

arch = size("h6-l9")
model = descendant(
    arch,
    backbone=dict(with_cls_token=True, out_type="cls_token", final_norm=True),
)
optim_wrapper = dict(optimizer=dict(lr=5e-5))  # as learngene descendants of this width
