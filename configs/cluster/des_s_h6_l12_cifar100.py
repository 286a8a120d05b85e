"""Cluster-Learngene: descendant h6-l12 of DeiT-S on CIFAR-100 at 224 pixels: 500 epochs, 10 of warm-up; the head starts fresh."""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/datasets/cifar100_224.py",
    "../_base_/schedules/transfer_500e.py",
    "../_base_/runtime.py",
]

model = dict(
    backbone=dict(with_cls_token=True, out_type="cls_token", final_norm=True),
    head=dict(num_classes=100),
    init_cfg=dict(checkpoint="work_dirs/cluster/deit_s.safetensors"),
)
work_dir = "work_dirs/cluster/des_s_h6_l12_cifar100"
