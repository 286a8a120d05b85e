"""Control h6-l9: Auto-Learngene: the ancestry's first 6 layers, then 3 random ones."""

_base_ = "./des.py"

model = dict(init_cfg=dict(checkpoint="work_dirs/controls/auto-learngene.safetensors"))
