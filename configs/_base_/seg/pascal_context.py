"""Pascal Context: 60 classes, the background among them, crops of 480, sliding inference."""

_base_ = "./evaluation.py"
from mmlearngene.datasets.seg_loaders import train_loader, tta_pipeline_at, val_loader

task = dict(num_classes=60, crop_size=(480, 480), test_cfg=dict(mode="slide", crop_size=(480, 480), stride=(320, 320)))
scale = (520, 520)  # longest and shortest side of a resized image
data = dict(type="PascalContextDataset", data_root="data/VOCdevkit/VOC2010")
train_dataloader = train_loader(
    dict(
        **data,
        data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClassContext"),
        ann_file="ImageSets/SegmentationContext/train.txt",
    ),
    scale,
    task["crop_size"],
)
val_dataloader = val_loader(
    dict(
        **data,
        data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClassContext"),
        ann_file="ImageSets/SegmentationContext/val.txt",
    ),
    scale,
)
test_dataloader = val_dataloader
tta_pipeline = tta_pipeline_at(scale)
