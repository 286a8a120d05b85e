"""Control h3-l12: FRONT, the low frequencies of the ancestry's tensors."""

_base_ = "./des.py"
from mmlearngene.recipes import descendant, size

arch = size("h3-l12")
model = descendant(
    arch,
    init_cfg=dict(checkpoint="work_dirs/controls/front.safetensors"),
)
