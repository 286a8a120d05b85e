"""A learngene in its Aux-Net, distilled from a frozen LeViT-384 alone (alpha 1, tau 1, DeiT's scaling)."""

model = dict(
    type="mmlearngene.LearngeneDistiller",
    student=dict(
        type="mmlearngene.AuxNet",
        learngene=dict(num_classes=1000, img_size=224, patch_size=16),
        head=dict(topk=(1, 5)),
    ),
    teacher=dict(type="mmlearngene.TimmTeacher", model_name="levit_384", pretrained=True),
    alpha=1.0,
    distill=dict(kind="soft", tau=1.0, reduction="deit"),
    train_cfg=dict(augments=[dict(type="Mixup", alpha=0.8), dict(type="CutMix", alpha=1.0)]),
)
