"""SWS, stage 2: what all descendants share. 10 epochs on ImageNet-1K, no warm-up, cosine to 1e-6."""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/datasets/imagenet_deit.py",
    "../_base_/schedules/tune_5e.py",
    "../_base_/runtime.py",
]

train_cfg = dict(max_epochs=10)
