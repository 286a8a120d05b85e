"""LeTs on the digits: learngene h3-l4 in the Aux-Net h6-l8."""

_base_ = ["./distill.py"]

model = dict(
    student=dict(learngene=dict(type="mmlearngene.LeTs", learngene="h3-l4", aux="h6-l8", groups=2, rows=2, repeats=2))
)
