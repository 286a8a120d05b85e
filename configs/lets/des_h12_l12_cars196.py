"""Descendant h12-l12 on Cars-196."""

_base_ = ["./transfer_h12.py", "../_base_/datasets/cars196.py"]

model = dict(head=dict(num_classes=196))
