"""A principal learngene of DeiT-B, trained on: one random size a step, all of them in one set of tensors.

    mmlearngene extract --method principal --ancestry deit_base_patch16_224 --data data/imagenet/val \
        -o work_dirs/principal/deit_b.safetensors
"""

_base_ = "../lets/elastic_deit_b_uniform.py"

model = dict(
    student=dict(
        learngene=dict(type="mmlearngene.LoadLearngene", path="work_dirs/principal/deit_b.safetensors", _delete_=True),
        sizes=dict(heads=[6, 12], layers=[8, 12]),
    )
)
train_cfg = dict(max_epochs=150)
custom_hooks = [
    dict(type="mmlearngene.SizesValHook", sizes=["h6-l8", "h6-l12", "h9-l12", "h12-l8", "h12-l12"]),
    dict(
        type="mmlearngene.LearngeneExportHook", provenance=dict(ancestry="deit_base_patch16_224", dataset="ImageNet-1K")
    ),
]
