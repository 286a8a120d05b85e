"""LeTs, stage 1 as in the paper: learngene h6-l8 in the Aux-Net h12-l16, ImageNet-1K, 300 epochs at batch 512 (128 x 4)."""

_base_ = [
    "../_base_/models/distill_levit384.py",
    "../_base_/datasets/imagenet_deit_repeated.py",
    "../_base_/schedules/distill_300e.py",
    "../_base_/runtime.py",
]

model = dict(
    student=dict(
        learngene=dict(type="mmlearngene.LeTs", learngene="h6-l8", aux="h12-l16", groups=4, rows=2, repeats=2),
        backbone=dict(drop_path_rate=0.1),
    ),
)
custom_hooks = [
    dict(type="mmlearngene.LearngeneExportHook", provenance=dict(ancestry="levit_384", dataset="ImageNet-1K")),
]
