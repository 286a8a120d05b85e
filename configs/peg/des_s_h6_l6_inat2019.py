"""PEG: the tuned descendant of des_s_h6_l6.py on iNaturalist 2019 for 500 epochs; see des_s_h6_l6_cifar100.py."""

_base_ = ["../cluster/des_s_h6_l6_inat2019.py"]

model = dict(init_cfg=dict(checkpoint="work_dirs/peg/des_s_h6_l6.safetensors"))
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
train_cfg = dict(max_epochs=500)
