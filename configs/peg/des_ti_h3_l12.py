"""PEG: descendant h3-l12 of DeiT-Ti, a plain ViT."""

_base_ = "./des.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=192, num_heads=3, num_layers=12, feedforward_channels=768)),
    head=dict(in_channels=192),
    init_cfg=dict(checkpoint="work_dirs/peg/deit_ti.safetensors"),
)
work_dir = "work_dirs/peg/des_ti_h3_l12"
