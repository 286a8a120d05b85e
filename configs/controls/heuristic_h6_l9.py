"""Control h6-l9: Heuristic-Learngene: 6 random layers, then the ancestry's last 3."""

_base_ = "./des.py"

model = dict(init_cfg=dict(checkpoint="work_dirs/controls/heuristic.safetensors"))
