"""Control h6-l9: 9 evenly spaced layers of the ancestry."""

_base_ = "./des.py"

model = dict(init_cfg=dict(checkpoint="work_dirs/controls/uniform-k.safetensors"))
