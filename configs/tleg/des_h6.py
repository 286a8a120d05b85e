"""TLEG, stage 2, h6: descendants of the learngene of aux_deit_s.py; each sets its depth."""

_base_ = "./des.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=384, num_heads=6, num_layers=12, feedforward_channels=1536)),
    head=dict(in_channels=384),
    init_cfg=dict(type="Learngene", checkpoint="work_dirs/tleg/aux_deit_s/epoch_150.learngene.safetensors"),
)
train_cfg = dict(max_epochs=35)
