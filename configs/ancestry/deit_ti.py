"""An ancestry: DeiT-Ti (h3-l12, class token) from scratch on ImageNet-1K, 300 epochs."""

_base_ = "./deit_s.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=192, num_heads=3, num_layers=12, feedforward_channels=768)),
    head=dict(in_channels=192),
)
