"""Control h6-l12: Pre-Fin, the pre-trained ancestry itself."""

_base_ = "./des.py"
from mmlearngene.recipes import descendant, size

arch = size("h6-l12")
model = descendant(
    arch,
    init_cfg=dict(checkpoint="work_dirs/controls/pre-fin.safetensors"),
)
