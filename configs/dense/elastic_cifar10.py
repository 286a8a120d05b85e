"""The small chain: LeTs h3-l4 in h6-l8 (heads of 16, patch 8) from an ancestry's tokens on CIFAR-10, without labels.

Trains on a CPU. Images and ancestry are those of studies/camvid.py.
"""

_base_ = ["../study/camvid_cifar10.py", "../_base_/models/distill_tokens.py"]

custom_imports = dict(imports=["mmlearngene.models", "mmlearngene.engine", "mmlearngene.datasets"])
data_preprocessor = dict(num_classes=None)
model = dict(
    student=dict(
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
        ),
        sizes=dict(type="mmlearngene.UniformSizes", heads=[3, 6], layers=[4, 8]),
    ),
    teacher=dict(
        type="mmlearngene.ClassifierTeacher",
        config="configs/study/camvid_ancestry.py",
        checkpoint="work_dirs/camvid/ancestry/epoch_10.pth",
    ),
    features=[dict(type="mmlearngene.RadioLoss")],
)
train_dataloader = dict(dataset=dict(with_label=False))
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="mmlearngene.BankAndQueries",
        datasets=[
            dict(
                type="mmlearngene.BalancedSubset",
                share=0.2,
                dataset={**_base_.val_dataloader.dataset, "data_root": "work_dirs/camvid/cifar10/train"},
            ),
            _base_.val_dataloader.dataset,
        ],
    )
)
val_evaluator = [dict(type="mmlearngene.TeacherCosine"), dict(type="mmlearngene.KNN")]
test_dataloader = val_dataloader
test_evaluator = [*val_evaluator, dict(type="mmlearngene.LinearProbe")]
test_cfg = dict()
train_cfg = dict(val_interval=5)
default_hooks = dict(budget=dict(advised=300_000))  # images: the shortest training of docs/dense.md
custom_hooks = [
    dict(type="mmlearngene.SizesValHook", sizes=["h3-l4", "h3-l8", "h4-l6", "h5-l6", "h6-l4", "h6-l8"]),
    dict(type="mmlearngene.LearngeneExportHook", provenance=dict(ancestry="camvid_ancestry h6-l8", dataset="CIFAR-10")),
]
