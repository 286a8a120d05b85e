"""Linear probing: as adamw_80k.py, at ten times its learning rate."""

_base_ = "./adamw_80k.py"

optim_wrapper = dict(optimizer=dict(lr=1e-3))
