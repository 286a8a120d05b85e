"""The CamVid study's ancestry: a ViT h6-l8 (heads of 16, patch 8) on CIFAR-10."""

_base_ = "./camvid_cifar10.py"
from mmlearngene.recipes import descendant, size

arch = size("h6-l8")
model = descendant(
    arch,
    head_dim=16,
    type="ImageClassifier",
    backbone=dict(
        type="VisionTransformer",
        img_size=32,
        patch_size=8,
        with_cls_token=False,
        out_type="avg_featmap",
        final_norm=False,
    ),
    head=dict(type="LinearClsHead", num_classes=10, loss=dict(type="CrossEntropyLoss")),
)
