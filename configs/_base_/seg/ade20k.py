"""ADE20K (SceneParse150): 150 classes, crops of 512."""

_base_ = "./evaluation.py"
from mmlearngene.datasets.seg_loaders import train_loader, tta_pipeline_at, val_loader

task = dict(num_classes=150, crop_size=(512, 512), test_cfg=dict(mode="whole"))
scale = (2048, 512)  # longest and shortest side of a resized image
data = dict(type="ADE20KDataset", data_root="data/ade/ADEChallengeData2016")
train_dataloader = train_loader(
    dict(
        **data,
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
    ),
    scale,
    task["crop_size"],
)
val_dataloader = val_loader(
    dict(
        **data,
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
    ),
    scale,
)
test_dataloader = val_dataloader
tta_pipeline = tta_pipeline_at(scale)
