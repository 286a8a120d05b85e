"""Control h3-l12: weight selection, every second head and channel of the ancestry."""

_base_ = "./des.py"
from mmlearngene.recipes import descendant, size

arch = size("h3-l12")
model = descendant(
    arch,
    init_cfg=dict(checkpoint="work_dirs/controls/weight-selection.safetensors"),
)
