"""Descendant h6-l12 on CIFAR-100."""

_base_ = ["./transfer.py", "../_base_/datasets/cifar100_224.py"]

model = dict(head=dict(num_classes=100))
