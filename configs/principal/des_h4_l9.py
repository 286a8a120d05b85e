"""A descendant h4-l9 of a principal learngene of DeiT-S, tuned for 5 epochs on ImageNet-1K.

    mmlearngene extract --method principal --ancestry deit_small_patch16_224 --data data/imagenet/val \
        -o work_dirs/principal/deit_s.safetensors
"""

_base_ = "../controls/des.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=256, num_heads=4, feedforward_channels=1024)),
    head=dict(in_channels=256),
    init_cfg=dict(checkpoint="work_dirs/principal/deit_s.safetensors"),
)
