"""Control h3-l12: FRONT, the low frequencies of the ancestry's tensors."""

_base_ = "./des.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=192, num_heads=3, num_layers=12, feedforward_channels=768)),
    head=dict(in_channels=192),
    init_cfg=dict(checkpoint="work_dirs/controls/front.safetensors"),
)
