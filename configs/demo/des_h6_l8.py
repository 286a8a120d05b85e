"""Descendant h6-l8 on the digits, 20 epochs; accuracy is measured before the first."""

_base_ = ["./ancestry.py"]

model = dict(init_cfg=dict(type="Learngene", checkpoint="work_dirs/demo/aux_lets/epoch_30.learngene.safetensors"))
custom_hooks = [dict(type="mmlearngene.EpochSeedHook"), dict(type="mmlearngene.InitialValHook")]
