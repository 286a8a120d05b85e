"""Cluster-Learngene: descendant h6-l6 of DeiT-S on CIFAR-100."""

_base_ = ["./transfer.py", "../_base_/datasets/cifar100_deit.py"]

model = dict(head=dict(num_classes=100))
