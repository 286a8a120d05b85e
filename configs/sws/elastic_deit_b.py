"""SWS, stage 1, elastic: as aux_deit_b.py, but every step trains the Aux-Net and one random depth of 6 to 15."""

_base_ = ["./aux_deit_b.py"]

model = dict(
    student=dict(
        sizes=dict(type="mmlearngene.SandwichSizes", layers=[6, 16], count=1, smallest=False),
        scale_drop_path=True,
    ),
)
custom_hooks = [dict(type="mmlearngene.SizesValHook"), *_base_.custom_hooks]
default_hooks = dict(checkpoint=dict(save_best="mean/accuracy/top1"))
