"""The CamVid study: UperNet on the descendant h4-l6 (heads of 16, patch 8), CamVid at 240 x 180, 600 iterations."""

_base_ = ["../_base_/seg/upernet.py", "../_base_/seg/evaluation.py"]
from mmlearngene.datasets.seg_loaders import train_loader, val_loader
from mmlearngene.recipes import size, upernet

iterations = 600
crop_size = (160, 160)
arch = size("h4-l6")
model = upernet(
    dict(num_heads=arch.heads, num_layers=arch.layers, head_dim=16, patch_size=8),
    num_classes=11,
    crop_size=crop_size,
    test_cfg=dict(mode="whole"),
)
model["init_cfg"] = dict(checkpoint="work_dirs/camvid/aux/epoch_10.learngene.safetensors")
model["backbone"]["drop_path_rate"] = 0.0
model["neck"]["rescales"] = [2, 1, 0.5, 0.25]  # a pyramid at strides 4 to 32, as patches are 8 wide
for head in ("decode_head", "auxiliary_head"):
    model[head]["channels"] = 32
metainfo = dict(
    classes=("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian")
    + ("Bicyclist",),
    palette=[
        [128, 128, 128],
        [128, 0, 0],
        [192, 192, 128],
        [128, 64, 128],
        [60, 40, 222],
        [128, 128, 0],
        [192, 128, 128],
        [64, 64, 128],
        [64, 0, 128],
        [64, 64, 0],
        [0, 128, 192],
    ],
)
data = dict(type="BaseSegDataset", data_root="../shared/data/camvid_half", metainfo=metainfo)
scale = (240, 180)
here = dict(num_workers=0, persistent_workers=False)
train_dataloader = train_loader(
    dict(**data, data_prefix=dict(img_path="images/train", seg_map_path="annotations/train")),
    scale,
    crop_size,
    ratio_range=(0.8, 1.5),
    batch_size=4,
    **here,
)
val_dataloader = val_loader(
    dict(**data, data_prefix=dict(img_path="images/val", seg_map_path="annotations/val")), scale, batch_size=8, **here
)
test_dataloader = val_loader(
    dict(**data, data_prefix=dict(img_path="images/test", seg_map_path="annotations/test")), scale, batch_size=8, **here
)
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="mmlearngene.LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=3e-3, weight_decay=0.05),
    paramwise_cfg=dict(layer_decay_rate=0.6, norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=30),
    dict(type="PolyLR", eta_min=1e-5, power=1.0, begin=30, end=iterations, by_epoch=False),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations, val_interval=100)
default_hooks = dict(
    logger=dict(interval=25),
    checkpoint=dict(interval=iterations, max_keep_ckpts=1, save_best=None),
)
