"""Descendant h12-l12 on CIFAR-100."""

_base_ = ["./transfer_h12.py", "../_base_/datasets/cifar100_224.py"]

model = dict(head=dict(num_classes=100))
