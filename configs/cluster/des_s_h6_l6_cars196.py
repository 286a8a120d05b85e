"""Cluster-Learngene: descendant h6-l6 of DeiT-S on Cars-196, with the paper's learning rate of 5e-3."""

_base_ = ["./transfer.py", "../_base_/datasets/cars196.py"]

model = dict(head=dict(num_classes=196))
optim_wrapper = dict(optimizer=dict(lr=5e-3))
