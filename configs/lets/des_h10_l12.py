"""Descendant h10-l12 on ImageNet-1K."""

_base_ = "./des.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=640, num_heads=10, num_layers=12, feedforward_channels=2560)),
    head=dict(in_channels=640),
    init_cfg=dict(rows=[0, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7]),  # the released rows for 12 layers
)
