"""The CamVid study's Pre-Fin control: the descendant's own size, h4-l6, trained on CIFAR-10 as the ancestry was."""

_base_ = "./camvid_ancestry.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=64, num_heads=4, num_layers=6, feedforward_channels=256)),
    head=dict(in_channels=64),
)
