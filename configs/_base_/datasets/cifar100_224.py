"""CIFAR-100 enlarged to 224 pixels, the transfer setting of the learngene papers; global batch 512 on 4 GPUs."""

_base_ = ["mmpretrain::_base_/datasets/cifar100_bs16.py", "./rand_augment.py"]

data_preprocessor = dict(
    num_classes=100,
    mean=[129.304, 124.070, 112.434],
    std=[68.170, 65.392, 70.418],
    to_rgb=False,  # the set's images are RGB already
)
train_pipeline = [
    dict(type="RandomResizedCrop", scale=224, backend="pillow", interpolation="bicubic"),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(**_base_.rand_augment, hparams=dict(pad_val=[129, 124, 112], interpolation="bicubic")),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="ResizeEdge", scale=224, edge="short", backend="pillow", interpolation="bicubic"),
    dict(type="PackInputs"),
]
train_dataloader = dict(batch_size=128, num_workers=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=128, num_workers=8, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
