"""Cityscapes: 19 classes, crops of 768, sliding inference."""

_base_ = "./evaluation.py"
from mmlearngene.datasets.seg_loaders import train_loader, tta_pipeline_at, val_loader

task = dict(num_classes=19, crop_size=(768, 768), test_cfg=dict(mode="slide", crop_size=(768, 768), stride=(512, 512)))
scale = (2048, 1024)  # longest and shortest side of a resized image
data = dict(type="CityscapesDataset", data_root="data/cityscapes")
train_dataloader = train_loader(
    dict(
        **data,
        data_prefix=dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train"),
    ),
    scale,
    task["crop_size"],
)
val_dataloader = val_loader(
    dict(
        **data,
        data_prefix=dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val"),
    ),
    scale,
)
test_dataloader = val_dataloader
tta_pipeline = tta_pipeline_at(scale)
