"""Cluster-Learngene: Swin-T with fewer heads in its first two stages: 2, 4, 12 and 24."""

_base_ = "./des_swin_t.py"

model = dict(backbone=dict(type="mmlearngene.ElasticSwin", num_heads=[2, 4, 12, 24], head_dims=32))
