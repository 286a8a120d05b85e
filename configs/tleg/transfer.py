"""TLEG: what all transfers of a descendant h6-l12 share. 500 epochs, 10 of warm-up; the head starts fresh."""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/schedules/transfer_500e.py",
    "../_base_/runtime.py",
]

model = dict(
    init_cfg=dict(checkpoint="work_dirs/tleg/aux_deit_s/epoch_150.learngene.safetensors"),
)
