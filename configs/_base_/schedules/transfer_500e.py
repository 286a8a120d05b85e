"""Transfer to a small classification set: 500 epochs, 10 of warm-up, AdamW 5e-4 at batch 512, cosine to 1e-5."""

_base_ = ["./tune_5e.py"]

optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=True, end=10, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=1e-5, by_epoch=True, begin=10, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=500, val_interval=5)
