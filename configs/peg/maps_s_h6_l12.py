"""PEG: descendant h6-l12 of DeiT-S with the maps kept in its attention, as in the paper."""

_base_ = "./des.py"

model = dict(backbone=dict(type="mmlearngene.PEGViT", learngene_heads=4))
