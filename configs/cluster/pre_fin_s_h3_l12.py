"""Control of Cluster-Learngene: Pre-Fin with half the heads in every layer, the ancestry's first ones, and the recipe of its descendants.

The ancestry's file is made in a second:

    mmlearngene extract --method pre-fin --ancestry deit_small_patch16_224 -o work_dirs/controls/pre-fin.safetensors
"""

_base_ = "./des.py"

arch = None  # of one size, as it is not a plain ViT's
model = dict(
    backbone=dict(type="mmlearngene.ElasticViT", num_heads=3, head_dims=64),
    init_cfg=dict(checkpoint="work_dirs/controls/pre-fin.safetensors"),
)
