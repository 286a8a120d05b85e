"""TLEG, stage 2: what all descendants share. ImageNet-1K, AdamW 5e-4 at batch 512, cosine to DeiT's 1e-5."""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/datasets/imagenet_deit.py",
    "../_base_/schedules/tune_5e.py",
    "../_base_/runtime.py",
]

optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [dict(type="CosineAnnealingLR", eta_min=1e-5, by_epoch=True, convert_to_iter_based=True)]
