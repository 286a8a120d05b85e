"""LeTs, stage 1, the paper's ablation without distillation: the Aux-Net learns from labels alone."""

_base_ = ["./aux_deit_b.py"]

model = dict(
    _delete_=True,
    type="mmlearngene.AuxNet",
    learngene=_base_.model.student.learngene,
    backbone=_base_.model.student.backbone,
    head=dict(topk=(1, 5), loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original")),
    train_cfg=_base_.model.train_cfg,
)
custom_hooks = [dict(type="mmlearngene.LearngeneExportHook", provenance=dict(dataset="ImageNet-1K"))]
