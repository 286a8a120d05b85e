"""Linear probing: as adamw_160k.py, at ten times its learning rate."""

_base_ = "./adamw_160k.py"

optim_wrapper = dict(optimizer=dict(lr=1e-3))
