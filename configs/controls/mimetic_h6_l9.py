"""Control h6-l9: mimetic initialisation: attention that looks trained, nothing inherited."""

_base_ = "./des.py"

model = dict(init_cfg=dict(checkpoint="work_dirs/controls/mimetic.safetensors"))
