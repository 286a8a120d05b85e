"""Cluster-Learngene: descendant h6-l12 of DeiT-S, a plain ViT."""

_base_ = "./des.py"

work_dir = "work_dirs/cluster/des_s_h6_l12"
