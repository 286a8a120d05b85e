"""Cluster-Learngene: DeiT-S with twice the heads, so wider inside than its residual stream."""

_base_ = "./des.py"

model = dict(backbone=dict(type="mmlearngene.ElasticViT", num_heads=12, head_dims=64))
work_dir = "work_dirs/cluster/des_s_h12_l12"
