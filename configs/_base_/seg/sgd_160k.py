"""Segmenter's schedule in the LeTs paper: SGD, no weight decay, poly 0.9, lr 1e-3.

160k iterations of 8 images (8 GPUs x 1) are the paper's 64 epochs of ADE20K.
"""

optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=1e-3, momentum=0.9, weight_decay=0.0))
param_scheduler = [dict(type="PolyLR", eta_min=1e-5, power=0.9, by_epoch=False)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=160000, val_interval=16000)
auto_scale_lr = dict(enable=False, base_batch_size=8)
