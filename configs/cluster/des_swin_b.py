"""Cluster-Learngene: descendant of Swin-B with its own heads, a plain Swin: h4,8,16,32-l2,2,18,2."""

_base_ = "./des_swin_t.py"

model = dict(
    backbone=dict(arch="base"),
    head=dict(in_channels=1024),
    init_cfg=dict(checkpoint="work_dirs/cluster/swin_b.safetensors"),
)
