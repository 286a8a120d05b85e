"""Stage 2: 5 epochs, AdamW 1e-5 at batch 512, weight decay 0.05, cosine to 1e-6, no warm-up."""

optim_wrapper = dict(
    type="AmpOptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-5, weight_decay=0.05),
    paramwise_cfg=dict(
        flat_decay_mult=0.0,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={".pos_embed": dict(decay_mult=0.0), ".cls_token": dict(decay_mult=0.0)},
    ),
)
param_scheduler = [dict(type="CosineAnnealingLR", eta_min=1e-6, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(by_epoch=True, max_epochs=5, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=512)
