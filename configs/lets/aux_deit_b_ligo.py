"""LeTs, stage 1, as LiGO has it: every Aux layer mixes all learngene layers and has width maps of its own, 60.2M."""

_base_ = ["./aux_deit_b.py"]

model = dict(student=dict(learngene=dict(groups=1, rows=16, repeats=1, width_maps="row")))
