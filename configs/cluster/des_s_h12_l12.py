"""Cluster-Learngene: DeiT-S with twice the heads, so wider inside than its residual stream."""

_base_ = "./des.py"

arch = None  # of one size, as it is not a plain ViT's
model = dict(backbone=dict(type="mmlearngene.ElasticViT", num_heads=12, head_dims=64))
