"""Control h6-l9: nothing inherited, at the learngenes' own budget."""

_base_ = "./des.py"

model = dict(init_cfg=dict(checkpoint="work_dirs/controls/scratch.safetensors"))
