"""LeTs from DINOv3 ViT-B/16, elastic, without labels: as elastic_dinov2_b.py."""

_base_ = ["./elastic_dinov2_b.py"]

model = dict(teacher=dict(model_name="vit_base_patch16_dinov3.lvd1689m"))
custom_hooks = [
    *_base_.custom_hooks[:-1],
    dict(type="mmlearngene.LearngeneExportHook", provenance=dict(ancestry="DINOv3 ViT-B/16", dataset="ImageNet-1K")),
]
