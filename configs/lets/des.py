"""LeTs, stage 2: what all descendants share. 5 epochs on ImageNet-1K from the learngene of aux_deit_b.py."""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/datasets/imagenet_deit.py",
    "../_base_/schedules/tune_5e.py",
    "../_base_/runtime.py",
]

model = dict(
    init_cfg=dict(type="Learngene", checkpoint="work_dirs/lets/aux_deit_b/epoch_300.learngene.safetensors"),
)
