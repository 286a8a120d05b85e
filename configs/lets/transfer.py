"""LeTs: what all transfers of a descendant share. 500 epochs, 10 of warm-up; the head starts fresh."""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/schedules/transfer_500e.py",
    "../_base_/runtime.py",
]
from mmlearngene.recipes import descendant, lets_rows, size

arch = size("h6-l12")
model = descendant(
    arch,
    init_cfg=dict(checkpoint="work_dirs/lets/aux_deit_b/epoch_300.learngene.safetensors", **lets_rows(arch)),
)
