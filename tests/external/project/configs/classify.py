_base_ = "./runtime.py"

default_scope = "mmpretrain"
model = dict(
    type="ImageClassifier",
    backbone=dict(
        type="VisionTransformer",
        arch=dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=64),
        img_size=32,
        patch_size=8,
        init_cfg=dict(type="Learngene", checkpoint="gene.safetensors"),
    ),
    head=dict(type="LinearClsHead", num_classes=2, in_channels=16, loss=dict(type="CrossEntropyLoss")),
)
custom_imports = dict(imports=["mmlearngene.engine"], allow_failed_imports=False)
data_preprocessor = dict(num_classes=2, mean=[127.0] * 3, std=[64.0] * 3)
pipeline = [dict(type="LoadImageFromFile"), dict(type="Resize", scale=(32, 32)), dict(type="PackInputs")]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    dataset=dict(type="CustomDataset", data_root="images", pipeline=pipeline),
    sampler=dict(type="DefaultSampler", shuffle=True),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    dataset=dict(type="CustomDataset", data_root="images", pipeline=pipeline),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
val_evaluator = dict(type="Accuracy", topk=(1,))
work_dir = "work_dirs/classify"
