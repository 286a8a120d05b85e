"""Control h6-l12: plain distillation from scratch, without a learngene, by the teacher and recipe of LeTs' stage 1."""

_base_ = [
    "../_base_/models/distill_levit384.py",
    "../_base_/datasets/imagenet_deit_repeated.py",
    "../_base_/schedules/distill_300e.py",
    "../_base_/runtime.py",
]
from mmlearngene.recipes import descendant, size

arch = size("h6-l12")
model = dict(
    student=descendant(
        arch,
        _delete_=True,
        type="ImageClassifier",
        backbone=dict(
            type="VisionTransformer",
            img_size=224,
            patch_size=16,
            with_cls_token=False,
            out_type="avg_featmap",
            final_norm=False,
            drop_path_rate=0.1,
        ),
        head=dict(type="LinearClsHead", num_classes=1000, topk=(1, 5)),
    ),
)
optim_wrapper = dict(
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys={".pos_embed": dict(decay_mult=0.0)}),
)
