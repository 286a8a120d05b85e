"""A descendant h4-l9 of a principal learngene of DeiT-S, tuned for 5 epochs on ImageNet-1K.

    mmlearngene extract --method principal --ancestry deit_small_patch16_224 --data data/imagenet/val \
        -o work_dirs/principal/deit_s.safetensors
"""

_base_ = "../controls/des.py"
from mmlearngene.recipes import descendant, size

arch = size("h4-l9")
model = descendant(
    arch,
    init_cfg=dict(checkpoint="work_dirs/principal/deit_s.safetensors"),
)
