"""An ancestry: DeiT (class token) from scratch on ImageNet-1K, 300 epochs (Touvron et al., ICML 2021).

DeiT-S, or DeiT-B with --arch h12-l12, DeiT-Ti with --arch h3-l12.
"""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/datasets/imagenet_deit_repeated.py",
    "../_base_/schedules/deit_300e.py",
    "../_base_/runtime.py",
]
from mmlearngene.recipes import descendant, size

arch = size("h6-l12")
model = descendant(
    arch,
    backbone=dict(with_cls_token=True, out_type="cls_token", final_norm=True),
    init_cfg=[
        dict(type="TruncNormal", layer="Linear", std=0.02),
        dict(type="Constant", layer="LayerNorm", val=1.0, bias=0.0),
    ],
)
