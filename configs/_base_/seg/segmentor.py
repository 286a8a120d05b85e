"""What every segmentor shares: the learngene that initialises its backbone, ImageNet's mean and std, the runtime."""

_base_ = "./runtime.py"

model = dict(
    type="EncoderDecoder",
    init_cfg=dict(type="Learngene", checkpoint="work_dirs/lets/aux_deit_b/epoch_300.learngene.safetensors"),
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        test_cfg=dict(size_divisor=32),
    ),
)
