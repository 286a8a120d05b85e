"""The demo's ancestry: a ViT h6-l8 (heads of 16, patch 2) trained from scratch on the digits."""

_base_ = ["./base.py"]
from mmlearngene.recipes import descendant, size

arch = size("h6-l8")
model = descendant(
    arch,
    head_dim=16,
    type="ImageClassifier",
    backbone=dict(
        type="VisionTransformer",
        img_size=8,
        patch_size=2,
        in_channels=1,
        with_cls_token=False,
        out_type="avg_featmap",
        final_norm=False,
    ),
    head=dict(type="LinearClsHead", num_classes=10),
)
