"""Descendant h6-l12 on iNaturalist 2019."""

_base_ = ["./transfer.py", "../_base_/datasets/inat2019.py"]

model = dict(head=dict(num_classes=1010))
