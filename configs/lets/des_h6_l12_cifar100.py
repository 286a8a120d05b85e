"""Descendant h6-l12 on CIFAR-100 at 224 pixels: 500 epochs, 10 of warm-up; the head starts fresh."""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/datasets/cifar100_224.py",
    "../_base_/schedules/transfer_500e.py",
    "../_base_/runtime.py",
]

model = dict(
    head=dict(num_classes=100),
    init_cfg=dict(type="Learngene", checkpoint="work_dirs/lets/aux_deit_b/epoch_300.learngene.safetensors"),
)
