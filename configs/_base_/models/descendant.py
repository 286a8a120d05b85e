"""A plain ViT classifier, initialised from a learngene.

A config adds its size: ``model = descendant(size("h6-l12"))``, of mmlearngene.recipes.

The learngene's Aux-Nets average the patch tokens and then normalise, without class token, and so do descendants.
"""

model = dict(
    type="ImageClassifier",
    backbone=dict(
        type="VisionTransformer",
        img_size=224,
        patch_size=16,
        with_cls_token=False,
        out_type="avg_featmap",
        final_norm=False,
        drop_path_rate=0.1,
    ),
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
        topk=(1, 5),
    ),
    train_cfg=dict(augments=[dict(type="Mixup", alpha=0.8), dict(type="CutMix", alpha=1.0)]),
    init_cfg=dict(type="Learngene", checkpoint="set by the config that inherits this"),
)
