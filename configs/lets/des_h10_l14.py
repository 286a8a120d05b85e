"""Descendant h10-l14 on ImageNet-1K."""

_base_ = "./des.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=640, num_heads=10, num_layers=14, feedforward_channels=2560)),
    head=dict(in_channels=640),
)
