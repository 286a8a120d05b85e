"""LeTs on the digits as in the paper: learngene h3-l4 in the Aux-Net h6-l8; all sizes are measured at the end."""

_base_ = ["./distill.py"]

model = dict(
    student=dict(learngene=dict(type="mmlearngene.LeTs", learngene="h3-l4", aux="h6-l8", groups=2, rows=2, repeats=2))
)
train_cfg = dict(val_interval=20)
custom_hooks = [
    dict(
        type="mmlearngene.SizesValHook",
        sizes=[f"h{heads}-l{layers}" for heads in range(3, 7) for layers in range(4, 9)],
    ),
    dict(type="mmlearngene.LearngeneExportHook", provenance=dict(ancestry="demo h6-l8", dataset="digits")),
]
