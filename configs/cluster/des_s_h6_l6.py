"""Cluster-Learngene: descendant h6-l6 of DeiT-S: its first six layers, the depth of the paper's transfers."""

_base_ = "./des.py"

model = dict(backbone=dict(arch=dict(num_layers=6)))
work_dir = "work_dirs/cluster/des_s_h6_l6"
