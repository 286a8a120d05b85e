"""LeTs: what all transfers of a descendant h12-l12 share."""

_base_ = "./transfer.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=768, num_heads=12, num_layers=12, feedforward_channels=3072)),
    head=dict(in_channels=768),
)
