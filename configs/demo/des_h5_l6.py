"""Descendant h5-l6 on the digits."""

_base_ = ["./des_h6_l8.py"]

model = dict(
    backbone=dict(arch=dict(embed_dims=80, num_heads=5, num_layers=6, feedforward_channels=320)),
    head=dict(in_channels=80),
)
