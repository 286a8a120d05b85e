"""Descendant h8-l10 on ImageNet-1K."""

_base_ = "./des.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=512, num_heads=8, num_layers=10, feedforward_channels=2048)),
    head=dict(in_channels=512),
)
