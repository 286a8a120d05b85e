"""Segmenter's schedule for the smaller sets: 80k iterations.

They are the LeTs paper's 256 epochs of Pascal Context at batch 16 (8 GPUs x 2), and its 216 epochs of Cityscapes at
batch 8 (8 GPUs x 1), where its lr is 1e-2.
"""

_base_ = "./sgd_160k.py"

train_cfg = dict(max_iters=80000, val_interval=8000)
