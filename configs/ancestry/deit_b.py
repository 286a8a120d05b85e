"""An ancestry: DeiT-B (h12-l12, class token) from scratch on ImageNet-1K, 300 epochs."""

_base_ = "./deit_s.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=768, num_heads=12, num_layers=12, feedforward_channels=3072)),
    head=dict(in_channels=768),
)
