"""Descendant h6-l12 on Food-101, 300 epochs as in the paper."""

_base_ = ["./transfer.py", "../_base_/datasets/food101.py"]

model = dict(head=dict(num_classes=101))
train_cfg = dict(max_epochs=300)
