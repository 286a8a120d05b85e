"""Cluster-Learngene: DeiT-S with half the heads in its first third, three quarters in its second: 3, 4, 6.

Table 9 of the paper calls this schedule "decrementing".
"""

_base_ = "./des.py"

arch = None  # of one size, as it is not a plain ViT's
model = dict(backbone=dict(type="mmlearngene.ElasticViT", num_heads=[3] * 4 + [4] * 4 + [6] * 4, head_dims=64))
