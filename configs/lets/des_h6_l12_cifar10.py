"""Descendant h6-l12 on CIFAR-10."""

_base_ = ["./transfer.py", "../_base_/datasets/cifar10_224.py"]

model = dict(head=dict(num_classes=10))
