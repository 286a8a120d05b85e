"""Cluster-Learngene: DeiT-S with all heads in its first third, three quarters in its second, half in its last: 6, 4, 3.

Table 9 of the paper calls this schedule "incrementing".
"""

_base_ = "./des.py"

arch = None  # of one size, as it is not a plain ViT's
model = dict(backbone=dict(type="mmlearngene.ElasticViT", num_heads=[6] * 4 + [4] * 4 + [3] * 4, head_dims=64))
