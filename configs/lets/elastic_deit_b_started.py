"""LeTs, stage 1, elastic, as elastic_deit_b_uniform.py, but the learngene begins with weights of DeiT-B, for half the epochs.

    mmlearngene extract --method weight-selection --ancestry deit_base_patch16_224 \
        -o work_dirs/controls_b/weight-selection.safetensors

On CIFAR-10 that was worth twice the epochs (docs/elastic.md). The learngene has DeiT's class token then.
"""

_base_ = ["./elastic_deit_b_uniform.py"]

model = dict(
    student=dict(
        learngene=dict(class_token=True, pool="cls"),
        init_cfg=dict(type="Learngene", checkpoint="work_dirs/controls_b/weight-selection.safetensors"),
    )
)
train_cfg = dict(max_epochs=300)
