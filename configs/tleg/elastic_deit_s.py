"""TLEG, stage 1, elastic: as aux_deit_s.py, but every step trains the Aux-Net and one random depth of 3 to 11."""

_base_ = ["./aux_deit_s.py"]

model = dict(
    student=dict(sizes=dict(type="mmlearngene.SandwichSizes", layers=[3, 12], count=1, smallest=False)),
)
custom_hooks = [dict(type="mmlearngene.SizesValHook"), *_base_.custom_hooks]
default_hooks = dict(checkpoint=dict(save_best="mean/accuracy/top1"))
