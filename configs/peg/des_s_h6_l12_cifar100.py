"""PEG: descendant h6-l12 of DeiT-S on CIFAR-100, as Cluster-Learngene's but with clipping."""

_base_ = "../cluster/des_s_h6_l12_cifar100.py"

model = dict(init_cfg=dict(checkpoint="work_dirs/peg/deit_s.safetensors"))
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
work_dir = "work_dirs/peg/des_s_h6_l12_cifar100"
