"""Descendant h12-l8 on ImageNet-1K."""

_base_ = "./des.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=768, num_heads=12, num_layers=8, feedforward_channels=3072)),
    head=dict(in_channels=768),
)
