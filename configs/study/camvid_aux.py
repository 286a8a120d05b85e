"""The CamVid study's learngene: LeTs h3-l4 in the Aux-Net h6-l8, distilled from the ancestry on CIFAR-10."""

_base_ = "./camvid_cifar10.py"

model = dict(
    type="mmlearngene.LearngeneDistiller",
    student=dict(
        type="mmlearngene.AuxNet",
        learngene=dict(
            type="mmlearngene.LeTs",
            learngene="h3-l4",
            aux="h6-l8",
            groups=2,
            rows=2,
            repeats=2,
            head_dim=16,
            patch_size=8,
            img_size=32,
            num_classes=10,
        ),
    ),
    teacher=dict(
        type="mmlearngene.ClassifierTeacher",
        config="configs/study/camvid_ancestry.py",
        checkpoint="work_dirs/camvid/ancestry/epoch_10.pth",
    ),
    distill=dict(tau=1.0, reduction="batchmean"),
)
custom_hooks = [
    dict(
        type="mmlearngene.LearngeneExportHook",
        provenance=dict(ancestry="camvid_ancestry h6-l8", dataset="CIFAR-10 (JPEG copies)"),
    ),
]
