"""Cluster-Learngene: descendant h6-l6 of DeiT-S on Flowers."""

_base_ = ["./transfer.py", "../_base_/datasets/flowers102.py"]

model = dict(head=dict(num_classes=102))
