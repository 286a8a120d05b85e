"""Cluster-Learngene: descendant of Swin-T with its own heads, a plain Swin: h3,6,12,24-l2,2,6,2.

The ancestry is a checkpoint of mmpretrain's Swin-T:

    mmlearngene extract --method cluster --ancestry swin_tiny.pth --like swin_tiny_patch4_window7_224 --data data/imagenet/val -o work_dirs/cluster/swin_t.safetensors
"""

_base_ = "./des.py"

arch = None  # of one size, as it is not a plain ViT's
model = dict(
    backbone=dict(_delete_=True, type="SwinTransformer", arch="tiny", img_size=224, drop_path_rate=0.0),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(in_channels=768),
    init_cfg=dict(checkpoint="work_dirs/cluster/swin_t.safetensors"),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={".relative_position_bias_table": dict(decay_mult=0.0)}))
