"""The digits: data, schedule and runtime that every classification run of the demo shares. Trains on a CPU."""

_base_ = ["../_base_/runtime.py"]

custom_imports = dict(
    imports=["mmlearngene.models", "mmlearngene.engine", "mmlearngene.datasets"], allow_failed_imports=False
)
data_preprocessor = dict(num_classes=10, mean=[77.65], std=[95.9])
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    dataset=dict(type="mmlearngene.DigitsClassification", split="train", pipeline=[dict(type="PackInputs")]),
    sampler=dict(type="DefaultSampler", shuffle=True),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=0,
    dataset=dict(type="mmlearngene.DigitsClassification", split="test", pipeline=[dict(type="PackInputs")]),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy", topk=(1,))
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    type="OptimWrapper",
    constructor="mmlearngene.LearngeneOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=3e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=True, end=2, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=1e-5, by_epoch=True, begin=2, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=15, val_interval=1)
default_hooks = dict(
    logger=dict(interval=45),
    checkpoint=dict(interval=10, max_keep_ckpts=1, save_best=None),
)
