"""imagenet_deit.py, but JPEGs are decoded no larger than their crop needs: several times as fast for photos of 4 megapixels.

At ImageNet's mean size, 500 x 375, most crops of 224 need the whole image; docs/speed.md has the numbers.
"""

_base_ = ["./imagenet_deit.py"]

custom_imports = dict(
    imports=["mmlearngene.models", "mmlearngene.engine", "mmlearngene.datasets"], allow_failed_imports=False
)
read, crop, *augment = _base_.train_pipeline
train_pipeline = [dict(type="mmlearngene.LoadRandomResizedCrop", scale=224, interpolation="bicubic"), *augment]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
