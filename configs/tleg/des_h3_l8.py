"""Descendant h3-l8 on ImageNet-1K."""

_base_ = "./des_h3.py"

model = dict(backbone=dict(arch=dict(num_layers=8)))
