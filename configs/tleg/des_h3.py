"""TLEG, stage 2, h3: descendants of the learngene of aux_deit_ti.py; each sets its depth."""

_base_ = "./des.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=192, num_heads=3, num_layers=12, feedforward_channels=768)),
    head=dict(in_channels=192),
    init_cfg=dict(type="Learngene", checkpoint="work_dirs/tleg/aux_deit_ti/epoch_150.learngene.safetensors"),
)
train_cfg = dict(max_epochs=50)
