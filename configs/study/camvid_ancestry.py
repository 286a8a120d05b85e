"""The CamVid study's ancestry: a ViT h6-l8 (heads of 16, patch 8) on CIFAR-10."""

_base_ = "./camvid_cifar10.py"

model = dict(
    type="ImageClassifier",
    backbone=dict(
        type="VisionTransformer",
        arch=dict(embed_dims=96, num_heads=6, num_layers=8, feedforward_channels=384),
        img_size=32,
        patch_size=8,
        with_cls_token=False,
        out_type="avg_featmap",
        final_norm=False,
    ),
    head=dict(type="LinearClsHead", num_classes=10, in_channels=96, loss=dict(type="CrossEntropyLoss")),
)
