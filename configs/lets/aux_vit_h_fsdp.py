"""LeTs, stage 1, at ViT-H's size: learngene h8-l16 in the Aux-Net h16-l32 (heads of 80, patch 14), by FSDP2 on 8 GPUs.

Not in the paper. The state of a rank is an eighth of DDP's; docs/speed.md has the account.
"""

_base_ = ["./aux_deit_b.py"]

runner_type = "FlexibleRunner"
strategy = dict(type="mmlearngene.FSDP2Strategy")
model = dict(
    student=dict(
        learngene=dict(learngene="h8-l16", aux="h16-l32", head_dim=80, patch_size=14, groups=8),
        backbone=dict(drop_path_rate=0.3),
    ),
)
train_dataloader = dict(batch_size=64)
