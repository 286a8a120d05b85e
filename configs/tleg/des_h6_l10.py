"""Descendant h6-l10 on ImageNet-1K."""

_base_ = "./des_h6.py"

model = dict(backbone=dict(arch=dict(num_layers=10)))
