"""Control h3-l12: weight selection, every second head and channel of the ancestry."""

_base_ = "./des.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=192, num_heads=3, num_layers=12, feedforward_channels=768)),
    head=dict(in_channels=192),
    init_cfg=dict(checkpoint="work_dirs/controls/weight-selection.safetensors"),
)
