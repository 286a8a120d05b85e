"""A descendant on the digits, 5 epochs; accuracy is measured before the first. Any size: --arch h4-l6."""

_base_ = ["./ancestry.py"]

model = dict(init_cfg=dict(type="Learngene", checkpoint="work_dirs/demo/elastic_lets/epoch_20.learngene.safetensors"))
custom_hooks = [dict(type="mmlearngene.InitialValHook")]
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_epochs=5)
