"""Cluster-Learngene: descendant h6-l6 of DeiT-S on CUB-200."""

_base_ = ["./transfer.py", "../_base_/datasets/cub200.py"]

model = dict(head=dict(num_classes=200))
