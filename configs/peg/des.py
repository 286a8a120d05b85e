"""PEG: what all descendants share. 100 epochs on ImageNet-1K with the released recipe, so without drop-path.

The learngene comes out of a trained ancestry in minutes:

    mmlearngene extract --method peg --ancestry deit_small_patch16_224 -o work_dirs/peg/deit_s.safetensors
"""

_base_ = [
    "../_base_/models/descendant.py",
    "../_base_/datasets/imagenet_deit.py",
    "../_base_/schedules/extracted_50e.py",
    "../_base_/runtime.py",
]

model = dict(
    backbone=dict(with_cls_token=True, out_type="cls_token", final_norm=True, drop_path_rate=0.0),
    init_cfg=dict(checkpoint="work_dirs/peg/deit_s.safetensors", head="fresh"),
)
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
train_cfg = dict(max_epochs=100)
