"""Cluster-Learngene: descendant h6-l6 of DeiT-S on CIFAR-10."""

_base_ = ["./transfer.py", "../_base_/datasets/cifar10_deit.py"]

model = dict(head=dict(num_classes=10))
