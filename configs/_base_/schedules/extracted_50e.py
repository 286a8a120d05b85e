"""The released recipe of Cluster-Learngene and PEG: 50 epochs, 5 of warm-up from 5e-7, AdamW 5e-4, cosine to 5e-6."""

_base_ = ["./tune_5e.py"]

optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=5e-6, by_epoch=True, begin=5, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=50)
