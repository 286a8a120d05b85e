"""PEG: descendant h6-l6 of DeiT-S, the start of the paper's transfers: its six FFNs expand to nine, the first six are taken.

mmlearngene extract --method peg --ancestry deit_small_patch16_224 --option ffn_outputs=9 -o work_dirs/peg/deit_s_9.safetensors
"""

_base_ = "./des.py"
from mmlearngene.recipes import descendant, size

arch = size("h6-l6", heads=[6], layers=range(1, 10))
model = descendant(
    arch,
    init_cfg=dict(checkpoint="work_dirs/peg/deit_s_9.safetensors"),
)
