"""UperNet on digits over a noisy canvas (11 classes, 8 x 8), its backbone the descendant h4-l6; 700 iterations on a CPU."""

_base_ = ["../_base_/seg/upernet.py"]
from mmlearngene.recipes import vit_arch

custom_imports = dict(
    imports=["mmlearngene.models", "mmlearngene.engine", "mmlearngene.datasets"], allow_failed_imports=False
)
pipeline = [dict(type="PackSegInputs")]
norm_cfg = dict(type="SyncBN", requires_grad=True)
model = dict(
    init_cfg=dict(type="Learngene", checkpoint="work_dirs/demo/elastic_lets/epoch_20.learngene.safetensors"),
    data_preprocessor=dict(mean=[77.65], std=[95.9], bgr_to_rgb=False, size=(8, 8), test_cfg=None),
    backbone=dict(
        type="mmpretrain.VisionTransformer",
        arch=vit_arch("h4-l6", head_dim=16),
        img_size=8,
        patch_size=2,
        in_channels=1,
        with_cls_token=False,
        out_type="featmap",
        out_indices=[1, 3, 4, 5],
        norm_cfg=dict(type="LN", eps=1e-6),
    ),
    neck=dict(embed_dim=64),
    decode_head=dict(in_channels=[64] * 4, channels=32, pool_scales=(1, 2), num_classes=11),
    auxiliary_head=dict(in_channels=64, channels=32, num_classes=11),
    test_cfg=dict(mode="whole"),
)

train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    dataset=dict(
        type="mmlearngene.DigitsSegmentation", split="train", num_images=960, canvas=8, num_digits=1, pipeline=pipeline
    ),
    sampler=dict(type="InfiniteSampler", shuffle=True),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=0,
    dataset=dict(
        type="mmlearngene.DigitsSegmentation", split="test", num_images=128, canvas=8, num_digits=1, pipeline=pipeline
    ),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05))
param_scheduler = [dict(type="PolyLR", eta_min=1e-5, power=1.0, by_epoch=False)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=700, val_interval=100)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(
    checkpoint=dict(interval=700, save_best=None),
    visualization=dict(type="SegVisualizationHook", draw=False),
)
