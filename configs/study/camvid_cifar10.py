"""CIFAR-10 in class folders, as studies/camvid.py writes it: data, schedule and runtime of all pre-training."""

_base_ = "../_base_/runtime.py"

epochs = 10
data_preprocessor = dict(num_classes=10, mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7], to_rgb=True)
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    dataset=dict(
        type="CustomDataset",
        data_root="work_dirs/camvid/cifar10/train",
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="RandomCrop", crop_size=32, padding=4),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackInputs"),
        ],
    ),
    sampler=dict(type="DefaultSampler", shuffle=True),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    dataset=dict(
        type="CustomDataset",
        data_root="work_dirs/camvid/cifar10/test",
        pipeline=[dict(type="LoadImageFromFile"), dict(type="PackInputs")],
    ),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
val_evaluator = dict(type="Accuracy", topk=(1,))
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="mmlearngene.LearngeneOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=1e-5, by_epoch=True, begin=1, end=epochs, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=1)
val_cfg = dict()
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=1, save_best=None))
