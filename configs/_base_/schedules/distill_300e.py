"""Stage 1: AdamW 5e-4 at batch 512, weight decay 0.05, 5 epochs of warm-up from 1e-6, cosine to 1e-5, 300 epochs."""

optim_wrapper = dict(
    type="AmpOptimWrapper",
    constructor="mmlearngene.LearngeneOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=5e-4, weight_decay=0.05),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6 / 5e-4, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=1e-5, by_epoch=True, begin=5, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=512)
