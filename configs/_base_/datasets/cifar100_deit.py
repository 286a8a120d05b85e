"""CIFAR-100 at 224 pixels as Cluster-Learngene's and PEG's code has it: ImageNet's statistics, random erasing."""

_base_ = ["./cifar100_224.py"]

mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]  # RGB, as the set's images are
data_preprocessor = dict(mean=mean, std=std)
train_pipeline = [
    dict(type="RandomResizedCrop", scale=224, backend="pillow", interpolation="bicubic"),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(**_base_.rand_augment, hparams=dict(pad_val=[124, 116, 104], interpolation="bicubic")),
    dict(
        type="RandomErasing",
        erase_prob=0.25,
        mode="rand",
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=mean,
        fill_std=std,
    ),
    dict(type="PackInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
