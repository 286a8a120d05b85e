"""Descendant h6-l10 on ImageNet-1K."""

_base_ = "./des.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=384, num_heads=6, num_layers=10, feedforward_channels=1536)),
    head=dict(in_channels=384),
)
optim_wrapper = dict(optimizer=dict(lr=5e-5))
