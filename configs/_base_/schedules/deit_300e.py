"""DeiT from scratch: 300 epochs, 5 of warm-up from 1e-6, AdamW 5e-4 at batch 512, weight decay 0.05, cosine to 1e-5."""

_base_ = ["./tune_5e.py"]

optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6 / 5e-4, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=1e-5, by_epoch=True, begin=5, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=300)
