_base_ = "./runtime.py"

default_scope = "mmseg"
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(type="SegDataPreProcessor", mean=[127.0] * 3, std=[64.0] * 3, size=(32, 32)),
    backbone=dict(  # mmsegmentation's own
        type="VisionTransformer",
        img_size=(32, 32),
        patch_size=8,
        embed_dims=16,
        num_layers=3,
        num_heads=2,
        patch_bias=True,
        final_norm=True,
        norm_cfg=dict(type="LN", eps=1e-6),
        out_indices=(0, 1, 2),
        init_cfg=dict(type="Learngene", checkpoint="gene.safetensors"),
    ),
    decode_head=dict(
        type="FCNHead",
        in_channels=16,
        channels=8,
        num_convs=1,
        num_classes=2,
        norm_cfg=dict(type="BN"),
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
    test_cfg=dict(mode="whole"),
)
custom_imports = dict(imports=["mmlearngene.engine"], allow_failed_imports=False)
dataset = dict(
    type="BaseSegDataset",
    metainfo=dict(classes=("dark", "bright")),
    data_root=".",
    data_prefix=dict(img_path="images/bright", seg_map_path="labels"),
    img_suffix=".png",
    seg_map_suffix=".png",
    pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")],
)
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dataset, sampler=dict(type="DefaultSampler", shuffle=True))
val_dataloader = dict(batch_size=1, num_workers=0, dataset=dataset, sampler=dict(type="DefaultSampler", shuffle=False))
val_evaluator = dict(type="IoUMetric")
work_dir = "work_dirs/segment"
