"""LeTs, stage 2: a descendant of the learngene of aux_deit_b.py, 5 epochs on ImageNet-1K. Any size: --arch h8-l12."""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/datasets/imagenet_deit.py",
    "../_base_/schedules/tune_5e.py",
    "../_base_/runtime.py",
]
from mmlearngene.recipes import descendant, lets_rows, size

arch = size("h6-l12")
model = descendant(
    arch,
    init_cfg=dict(
        type="Learngene",
        checkpoint="work_dirs/lets/aux_deit_b/epoch_300.learngene.safetensors",
        **lets_rows(arch),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=5e-5 if arch.heads <= 6 else 1e-5))
