"""Control h6-l9: the ancestry's first 9 layers."""

_base_ = "./des.py"

model = dict(init_cfg=dict(checkpoint="work_dirs/controls/first-k.safetensors"))
