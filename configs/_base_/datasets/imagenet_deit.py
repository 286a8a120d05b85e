"""ImageNet-1K with DeiT's augmentation (Touvron et al., ICML 2021, table 9), without repeated augmentation.

The global batch is 512: 128 images on each of 4 GPUs, or 64 on each of 8. DeiT's colour jitter of 0.4 is not here because
its code does not apply it either: timm switches it off beside RandAugment.
"""

_base_ = ["mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py", "./rand_augment.py"]

data_preprocessor = dict(
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale=224, backend="pillow", interpolation="bicubic"),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(**_base_.rand_augment, hparams=dict(pad_val=[104, 116, 124], interpolation="bicubic")),
    dict(
        type="RandomErasing",
        erase_prob=0.25,
        mode="rand",
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=[103.53, 116.28, 123.675],
        fill_std=[57.375, 57.12, 58.395],
    ),
    dict(type="PackInputs"),
]
# resize 256 and crop 224: crop ratio 0.875
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeEdge", scale=256, edge="short", backend="pillow", interpolation="bicubic"),
    dict(type="CenterCrop", crop_size=224),
    dict(type="PackInputs"),
]
train_dataloader = dict(batch_size=128, num_workers=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=128, num_workers=8, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
