"""Cluster-Learngene: descendant h6-l6 of DeiT-S on CIFAR-10."""

_base_ = ["./transfer.py", "../_base_/datasets/cifar10_deit.py"]

model = dict(head=dict(num_classes=10))
work_dir = "work_dirs/cluster/des_s_h6_l6_cifar10"
