"""SWS, stage 2: a descendant, 10 epochs on ImageNet-1K, no warm-up, cosine to 1e-6. Any depth: --arch h6-l9.

Each width has a learngene and a learning rate of its own.
"""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/datasets/imagenet_deit.py",
    "../_base_/schedules/tune_5e.py",
    "../_base_/runtime.py",
]
from mmlearngene.recipes import descendant, size

arch = size("h6-l12", heads=[6, 12])
model = descendant(
    arch,
    init_cfg=dict(
        type="Learngene",
        checkpoint={
            6: "work_dirs/sws/aux_deit_s/epoch_150.learngene.safetensors",
            12: "work_dirs/sws/aux_deit_b/epoch_100.learngene.safetensors",
        }[arch.heads],
    ),
)
optim_wrapper = dict(optimizer=dict(lr={6: 5e-5, 12: 1e-5}[arch.heads]))
train_cfg = dict(max_epochs=10)
