"""Cluster-Learngene: DeiT-S with more heads in deeper layers, 3, 4 and 6 (the paper's best schedule, "Incrementing")."""

_base_ = "./des.py"

model = dict(backbone=dict(type="mmlearngene.ElasticViT", num_heads=[3] * 4 + [4] * 4 + [6] * 4, head_dims=64))
work_dir = "work_dirs/cluster/des_s_incremental_l12"
