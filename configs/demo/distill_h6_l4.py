"""The control of plain distillation: h6-l4 from scratch, with the ancestry as teacher but without a learngene."""

_base_ = ["./distill.py"]
from mmlearngene.recipes import descendant, size

arch = size("h6-l4")
model = dict(
    student=descendant(
        arch,
        head_dim=16,
        _delete_=True,
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
    ),
)
train_cfg = dict(max_epochs=5, val_interval=1)
custom_hooks = [dict(type="mmlearngene.InitialValHook")]
