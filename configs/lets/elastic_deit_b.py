"""LeTs, stage 1, elastic: as aux_deit_b.py, but every step trains the Aux-Net h12-l16 and one random smaller size.

A step costs about one and a half of aux_deit_b.py's. The sizes h6 to h12 by l8 to l16 are then good without tuning.
"""

_base_ = ["./aux_deit_b.py"]

model = dict(
    student=dict(
        sizes=dict(type="mmlearngene.SandwichSizes", heads=[6, 12], layers=[8, 16], count=1, smallest=False),
        scale_drop_path=True,
    ),
)
custom_hooks = [
    dict(type="mmlearngene.SizesValHook", sizes=["h6-l8", "h6-l12", "h9-l12", "h12-l8", "h12-l12", "h12-l16"]),
    *_base_.custom_hooks,
]
default_hooks = dict(checkpoint=dict(save_best="mean/accuracy/top1"))
