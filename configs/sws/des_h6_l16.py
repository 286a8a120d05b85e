"""Descendant h6-l16 on ImageNet-1K."""

_base_ = "./des_h6.py"

model = dict(backbone=dict(arch=dict(num_layers=16)))
work_dir = "work_dirs/sws/des_h6_l16"
