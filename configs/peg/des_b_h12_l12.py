"""PEG: descendant h12-l12 of DeiT-B, a plain ViT."""

_base_ = "./des.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=768, num_heads=12, num_layers=12, feedforward_channels=3072)),
    head=dict(in_channels=768),
    init_cfg=dict(checkpoint="work_dirs/peg/deit_b.safetensors"),
)
work_dir = "work_dirs/peg/des_b_h12_l12"
