"""Cluster-Learngene, elastic: as joint_s_h6_l12.py, but every step trains h6-l12 and one random smaller descendant.

In place of a teacher the largest size teaches the other (BigNAS).
"""

_base_ = ["./joint_s_h6_l12.py"]

model = dict(
    backbone=dict(drop_path_rate=0.1),
    sizes=dict(type="mmlearngene.SandwichSizes", heads=[3, 6], layers=[6, 12], count=1, smallest=False),
    scale_drop_path=True,
    in_place=dict(reduction="batchmean"),
)
custom_hooks = [
    dict(type="mmlearngene.SizesValHook", sizes=["h3-l6", "h3-l12", "h6-l6", "h6-l9", "h6-l12"]),
    *_base_.custom_hooks,
]
default_hooks = dict(checkpoint=dict(save_best="mean/accuracy/top1"))
