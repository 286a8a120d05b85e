"""Cluster-Learngene: descendant h6-l6 of DeiT-S on iNaturalist 2019, 100 epochs."""

_base_ = ["./transfer.py", "../_base_/datasets/inat2019.py"]

model = dict(head=dict(num_classes=1010))
train_cfg = dict(max_epochs=100)
