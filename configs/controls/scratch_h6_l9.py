"""Control h6-l9: nothing inherited, at the learngenes' own budget."""

_base_ = "./des.py"

model = dict(init_cfg=dict(checkpoint="work_dirs/controls/scratch.safetensors"))
work_dir = "work_dirs/controls/scratch_h6_l9"
