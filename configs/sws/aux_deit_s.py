"""SWS, stage 1 as in the paper, DeiT-S: Aux-Net h6-l16 in stages of 3-3-4-3-3 layers, ImageNet-1K, 150 epochs."""

_base_ = [
    "../_base_/models/distill_levit384.py",
    "../_base_/datasets/imagenet_deit_repeated.py",
    "../_base_/schedules/distill_300e.py",
    "../_base_/runtime.py",
]

model = dict(
    student=dict(
        learngene=dict(type="mmlearngene.SWS", aux="h6-l16", stages=[3, 3, 4, 3, 3]),
        backbone=dict(drop_path_rate=0.1),
    ),
)
train_cfg = dict(max_epochs=150)
custom_hooks = [
    dict(type="mmlearngene.LearngeneExportHook", provenance=dict(ancestry="levit_384", dataset="ImageNet-1K")),
]
