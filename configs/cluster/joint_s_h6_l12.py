"""Cluster-Learngene: descendant h6-l12 of DeiT-S that trains together with the maps that make it; exports a learngene."""

_base_ = ["./des.py"]

arch = None  # of one size
model = dict(
    _delete_=True,
    type="mmlearngene.AuxNet",
    learngene=dict(type="mmlearngene.LoadLearngene", path="work_dirs/cluster/deit_s.safetensors"),
    size="h6-l12",
    head=dict(loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"), topk=(1, 5)),
    train_cfg=dict(augments=[dict(type="Mixup", alpha=0.8), dict(type="CutMix", alpha=1.0)]),
)
optim_wrapper = dict(constructor="mmlearngene.LearngeneOptimWrapperConstructor", paramwise_cfg=dict(_delete_=True))
custom_hooks = [
    dict(type="mmlearngene.LearngeneExportHook", provenance=dict(ancestry="deit_small_patch16_224")),
]
