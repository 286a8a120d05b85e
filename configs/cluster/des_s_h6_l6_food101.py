"""Cluster-Learngene: descendant h6-l6 of DeiT-S on Food-101."""

_base_ = ["./transfer.py", "../_base_/datasets/food101.py"]

model = dict(head=dict(num_classes=101))
