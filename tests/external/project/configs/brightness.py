_base_ = "./runtime.py"

default_scope = "thirdparty"
model = dict(
    type="BrightnessModel",
    backbone=dict(
        type="mmpretrain.VisionTransformer",
        arch=dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=64),
        img_size=32,
        patch_size=8,
        out_type="featmap",
        init_cfg=dict(type="Learngene", checkpoint="gene.safetensors"),
    ),
    width=16,
)
custom_imports = dict(imports=["thirdparty", "mmlearngene.engine"], allow_failed_imports=False)
loader = dict(batch_size=4, num_workers=0, dataset=dict(type="GreyImages"), collate_fn=dict(type="default_collate"))
train_dataloader = dict(**loader, sampler=dict(type="DefaultSampler", shuffle=True))
val_dataloader = dict(**loader, sampler=dict(type="DefaultSampler", shuffle=False))
val_evaluator = dict(type="MeanError")
work_dir = "work_dirs/brightness"
