"""Cluster-Learngene: what all transfers of a descendant of DeiT-S share; the head starts fresh."""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/schedules/extracted_transfer_500e.py",
    "../_base_/runtime.py",
]
from mmlearngene.recipes import descendant, size

arch = size("h6-l6", heads=[6], layers=range(1, 13))
model = descendant(
    arch,
    backbone=dict(with_cls_token=True, out_type="cls_token", final_norm=True, drop_path_rate=0.0),
    init_cfg=dict(checkpoint="work_dirs/cluster/deit_s.safetensors"),
)
