"""PEG: the mixtures of DeiT-S are drawn anew every epoch (Algorithm 1) while the maps train; exports a learngene."""

_base_ = ["./joint_s_h6_l12.py"]

model = dict(
    learngene=dict(
        _delete_=True,
        type="mmlearngene.ExtractLearngene",
        method="peg",
        ancestry="deit_small_patch16_224",
        redraw=True,
    ),
)
custom_hooks = [
    dict(type="mmlearngene.RedrawHook"),
    dict(type="mmlearngene.LearngeneExportHook", provenance=dict(ancestry="deit_small_patch16_224")),
]
