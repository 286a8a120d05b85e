"""The demo's ancestry: a ViT h6-l8 (heads of 16, patch 2) trained from scratch on the digits."""

_base_ = ["./base.py"]

model = dict(
    type="ImageClassifier",
    backbone=dict(
        type="VisionTransformer",
        arch=dict(embed_dims=96, num_heads=6, num_layers=8, feedforward_channels=384),
        img_size=8,
        patch_size=2,
        in_channels=1,
        with_cls_token=False,
        out_type="avg_featmap",
        final_norm=False,
    ),
    head=dict(type="LinearClsHead", num_classes=10, in_channels=96),
)
