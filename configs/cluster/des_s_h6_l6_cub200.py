"""Cluster-Learngene: descendant h6-l6 of DeiT-S on CUB-200."""

_base_ = ["./transfer.py", "../_base_/datasets/cub200.py"]

model = dict(head=dict(num_classes=200))
work_dir = "work_dirs/cluster/des_s_h6_l6_cub200"
