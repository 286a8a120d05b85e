"""PEG: descendant h6-l12 of DeiT-S on iNaturalist 2019, as Cluster-Learngene's but for 500 epochs and with clipping."""

_base_ = "../cluster/des_s_h6_l12_inat2019.py"

model = dict(init_cfg=dict(checkpoint="work_dirs/peg/deit_s.safetensors"))
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
train_cfg = dict(max_epochs=500)
work_dir = "work_dirs/peg/des_s_h6_l12_inat2019"
