"""Cluster-Learngene: descendant h6-l6 of DeiT-S on Food-101."""

_base_ = ["./transfer.py", "../_base_/datasets/food101.py"]

model = dict(head=dict(num_classes=101))
work_dir = "work_dirs/cluster/des_s_h6_l6_food101"
