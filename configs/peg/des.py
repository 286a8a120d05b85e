"""PEG: a descendant, 100 epochs on ImageNet-1K with the released recipe, so without drop-path.

It is as wide as its ancestry: DeiT-S, or DeiT-B with --arch h12-l12, DeiT-Ti with --arch h3-l12. The learngene comes out of a trained ancestry in minutes:

    mmlearngene extract --method peg --ancestry deit_small_patch16_224 -o work_dirs/peg/deit_s.safetensors
"""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/datasets/imagenet_deit.py",
    "../_base_/schedules/extracted_50e.py",
    "../_base_/runtime.py",
]
from mmlearngene.recipes import descendant, size

arch = size("h6-l12", heads=[3, 6, 12], layers=range(1, 13))
model = descendant(
    arch,
    backbone=dict(with_cls_token=True, out_type="cls_token", final_norm=True, drop_path_rate=0.0),
    init_cfg=dict(
        checkpoint={
            3: "work_dirs/peg/deit_ti.safetensors",
            6: "work_dirs/peg/deit_s.safetensors",
            12: "work_dirs/peg/deit_b.safetensors",
        }[arch.heads],
        head="fresh",
    ),
)
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
train_cfg = dict(max_epochs=100)
