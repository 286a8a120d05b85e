"""Descendant h6-l8 on the digits, 5 epochs; accuracy is measured before the first."""

_base_ = ["./ancestry.py"]

model = dict(init_cfg=dict(type="Learngene", checkpoint="work_dirs/demo/elastic_lets/epoch_20.learngene.safetensors"))
custom_hooks = [dict(type="mmlearngene.InitialValHook")]
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_epochs=5)
