"""SWS on the digits: Aux-Net h6-l8 in four stages of two layers."""

_base_ = ["./distill.py"]

model = dict(student=dict(learngene=dict(type="mmlearngene.SWS", aux="h6-l8", stages=[2, 2, 2, 2])))
train_cfg = dict(max_epochs=12)
