"""The demo's stage 1: a learngene in its Aux-Net, 20 epochs of soft distillation from the demo's ancestry."""

_base_ = ["./base.py"]

model = dict(
    type="mmlearngene.LearngeneDistiller",
    student=dict(
        type="mmlearngene.AuxNet",
        learngene=dict(num_classes=10, img_size=8, patch_size=2, in_channels=1, head_dim=16),
    ),
    teacher=dict(
        type="mmlearngene.ClassifierTeacher",
        config="configs/demo/ancestry.py",
        checkpoint="work_dirs/demo/ancestry/epoch_15.pth",
    ),
    distill=dict(tau=1.0, reduction="batchmean"),
)
train_cfg = dict(max_epochs=20, val_interval=4)
custom_hooks = [
    dict(type="mmlearngene.LearngeneExportHook", provenance=dict(ancestry="demo h6-l8", dataset="digits")),
]
