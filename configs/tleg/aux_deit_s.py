"""TLEG, stage 1 as in the paper, DeiT-S: Aux-Net h6-l12, ImageNet-1K, 150 epochs at batch 512, no drop-path."""

_base_ = [
    "../_base_/models/distill_levit384.py",
    "../_base_/datasets/imagenet_deit_repeated.py",
    "../_base_/schedules/distill_300e.py",
    "../_base_/runtime.py",
]

model = dict(student=dict(learngene=dict(type="mmlearngene.TLEG", aux="h6-l12")))
train_cfg = dict(max_epochs=150)
custom_hooks = [
    dict(type="mmlearngene.LearngeneExportHook", provenance=dict(ancestry="levit_384", dataset="ImageNet-1K")),
]
