"""Descendant h4-l6 on the digits."""

_base_ = ["./des_h6_l8.py"]

model = dict(
    backbone=dict(arch=dict(embed_dims=64, num_heads=4, num_layers=6, feedforward_channels=256)),
    head=dict(in_channels=64),
)
