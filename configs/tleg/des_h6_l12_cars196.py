"""Descendant h6-l12 on Cars-196."""

_base_ = ["./transfer.py", "../_base_/datasets/cars196.py"]

model = dict(head=dict(num_classes=196))
