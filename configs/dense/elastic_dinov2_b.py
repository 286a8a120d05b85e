"""LeTs from DINOv2 ViT-B/14, elastic, without labels: Proteus' losses and recipe, 300 epochs of ImageNet-1K, batch 512.

Every step trains the Aux-Net h12-l16 and one random smaller size. The student has patches of 16 and no class token, so
that descendants are the backbones of configs/seg; what it pools learns the teacher's class token.
"""

_base_ = [
    "../_base_/models/distill_tokens.py",
    "../_base_/datasets/imagenet_unlabelled.py",
    "../_base_/schedules/distill_300e.py",
    "../_base_/runtime.py",
]

custom_imports = dict(imports=["mmlearngene.models", "mmlearngene.engine", "mmlearngene.datasets"])
model = dict(
    student=dict(
        learngene=dict(type="mmlearngene.LeTs", learngene="h6-l8", aux="h12-l16", groups=4, rows=2, repeats=2),
        sizes=dict(type="mmlearngene.SandwichSizes", heads=[6, 12], layers=[8, 16], count=1, smallest=False),
    ),
    teacher=dict(
        type="mmlearngene.TimmTeacher", model_name="vit_base_patch14_dinov2.lvd142m", pretrained=True, img_size=224
    ),
)
train_cfg = dict(val_interval=10)
custom_hooks = [
    dict(type="mmlearngene.SizesValHook", sizes=["h6-l8", "h6-l12", "h9-l12", "h12-l8", "h12-l12", "h12-l16"]),
    dict(type="mmlearngene.LearngeneExportHook", provenance=dict(ancestry="DINOv2 ViT-B/14", dataset="ImageNet-1K")),
]
default_hooks = dict(
    budget=dict(advised=300_000),  # images: the shortest training of docs/dense.md
    checkpoint=dict(save_best="mean/knn/top1"),
)
