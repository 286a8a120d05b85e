"""TLEG, stage 1 as in the paper, DeiT-Ti: Aux-Net h3-l12, 150 epochs."""

_base_ = "./aux_deit_s.py"

model = dict(student=dict(learngene=dict(aux="h3-l12")))
