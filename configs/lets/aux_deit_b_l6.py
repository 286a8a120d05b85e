"""LeTs, stage 1, the paper's smaller learngene of 11.4M: h6-l6 in 2 groups, 4 rows each."""

_base_ = ["./aux_deit_b.py"]

model = dict(student=dict(learngene=dict(learngene="h6-l6", groups=2, rows=4, repeats=2)))
