"""Transfer with the released recipe of Cluster-Learngene and PEG: 500 epochs, 10 of warm-up from 5e-7, cosine to 5e-6."""

_base_ = ["./transfer_500e.py"]

param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=True, end=10, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=5e-6, by_epoch=True, begin=10, convert_to_iter_based=True),
]
