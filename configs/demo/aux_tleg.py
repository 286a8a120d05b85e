"""TLEG on the digits: Aux-Net h6-l8."""

_base_ = ["./distill.py"]

model = dict(student=dict(learngene=dict(type="mmlearngene.TLEG", aux="h6-l8")))
train_cfg = dict(max_epochs=12)
