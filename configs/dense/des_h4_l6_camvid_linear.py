"""The small chain: a linear head on the descendant h4-l6, trained end to end on CamVid."""

_base_ = "../study/camvid_des.py"
from mmlearngene.recipes import linear_tuned, size

arch = size("h4-l6")
model = linear_tuned(
    dict(num_heads=arch.heads, num_layers=arch.layers, head_dim=16, patch_size=8),
    num_classes=11,
    crop_size=_base_.crop_size,
    neck=None,
    auxiliary_head=None,
)
model["init_cfg"] = dict(checkpoint="work_dirs/dense/elastic_cifar10/epoch_10.learngene.safetensors")
model["backbone"]["drop_path_rate"] = 0.0
model["decode_head"] = dict(
    _delete_=True, type="FCNHead", num_convs=0, concat_input=False, dropout_ratio=0.0, **model["decode_head"]
)
