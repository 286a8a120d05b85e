"""SWS, stage 1 as in the paper, DeiT-B: Aux-Net h12-l16, 100 epochs."""

_base_ = "./aux_deit_s.py"

model = dict(student=dict(learngene=dict(aux="h12-l16")))
train_cfg = dict(max_epochs=100)
