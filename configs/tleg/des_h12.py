"""TLEG, stage 2, h12: descendants of the learngene of aux_deit_b.py; each sets its depth."""

_base_ = "./des.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=768, num_heads=12, num_layers=12, feedforward_channels=3072)),
    head=dict(in_channels=768),
    init_cfg=dict(type="Learngene", checkpoint="work_dirs/tleg/aux_deit_b/epoch_100.learngene.safetensors"),
)
train_cfg = dict(max_epochs=40)
