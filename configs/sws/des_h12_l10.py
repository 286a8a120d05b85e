"""Descendant h12-l10 on ImageNet-1K."""

_base_ = "./des_h12.py"

model = dict(backbone=dict(arch=dict(num_layers=10)))
