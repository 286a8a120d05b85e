"""Descendant h6-l12 on ImageNet-1K."""

_base_ = "./des.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=384, num_heads=6, num_layers=12, feedforward_channels=1536)),
    head=dict(in_channels=384),
    init_cfg=dict(rows=[0, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7]),  # the released rows for 12 layers
)
optim_wrapper = dict(optimizer=dict(lr=5e-5))
