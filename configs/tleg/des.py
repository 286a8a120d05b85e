"""TLEG, stage 2: a descendant on ImageNet-1K, AdamW 5e-4 at batch 512, cosine to DeiT's 1e-5. Any depth: --arch h6-l9.

Each width has a learngene and a number of epochs of its own.
"""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/datasets/imagenet_deit.py",
    "../_base_/schedules/tune_5e.py",
    "../_base_/runtime.py",
]
from mmlearngene.recipes import descendant, size

arch = size("h6-l12", heads=[3, 6, 12])
model = descendant(
    arch,
    init_cfg=dict(
        type="Learngene",
        checkpoint={
            3: "work_dirs/tleg/aux_deit_ti/epoch_150.learngene.safetensors",
            6: "work_dirs/tleg/aux_deit_s/epoch_150.learngene.safetensors",
            12: "work_dirs/tleg/aux_deit_b/epoch_100.learngene.safetensors",
        }[arch.heads],
    ),
)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [dict(type="CosineAnnealingLR", eta_min=1e-5, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs={3: 50, 6: 35, 12: 40}[arch.heads])
