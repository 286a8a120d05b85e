"""TLEG: what all transfers of a descendant of 6 heads share. 500 epochs, 10 of warm-up; the head starts fresh."""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/schedules/transfer_500e.py",
    "../_base_/runtime.py",
]
from mmlearngene.recipes import descendant, size

arch = size("h6-l12", heads=[6])
model = descendant(
    arch,
    init_cfg=dict(checkpoint="work_dirs/tleg/aux_deit_s/epoch_150.learngene.safetensors"),
)
