optim_wrapper = dict(optimizer=dict(type="AdamW", lr=1e-3))
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = dict()
default_hooks = dict(logger=dict(type="LoggerHook", interval=1), checkpoint=dict(type="CheckpointHook", interval=1))
