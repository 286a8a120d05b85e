"""LeTs: what all transfers of a descendant h6-l12 share. 500 epochs, 10 of warm-up; the head starts fresh."""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/schedules/transfer_500e.py",
    "../_base_/runtime.py",
]

model = dict(
    init_cfg=dict(
        checkpoint="work_dirs/lets/aux_deit_b/epoch_300.learngene.safetensors",
        rows=[0, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7],  # the released rows for 12 layers
    ),
)
