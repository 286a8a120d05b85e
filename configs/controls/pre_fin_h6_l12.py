"""Control h6-l12: Pre-Fin, the pre-trained ancestry itself."""

_base_ = "./des.py"

model = dict(
    backbone=dict(arch=dict(num_layers=12)),
    init_cfg=dict(checkpoint="work_dirs/controls/pre-fin.safetensors"),
)
