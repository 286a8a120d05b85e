"""Segmenter's schedule for the smaller sets: 80k iterations.

They are the LeTs paper's 256 epochs of Pascal Context at batch 16 (8 GPUs x 2), and its 216 epochs of Cityscapes at
batch 8 (8 GPUs x 1), where its lr is 1e-2.
"""

_base_ = "./sgd_160k.py"

param_scheduler = [dict(type="PolyLR", eta_min=1e-5, power=0.9, begin=0, end=80000, by_epoch=False)]
train_cfg = dict(max_iters=80000, val_interval=8000)
