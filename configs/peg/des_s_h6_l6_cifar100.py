"""PEG: the tuned descendant of des_s_h6_l6.py on CIFAR-100, as Cluster-Learngene's but with clipping.

mmlearngene extract --method pre-fin --ancestry work_dirs/peg/des_s_h6_l6/epoch_100.pth --like configs/peg/des_s_h6_l6.py -o work_dirs/peg/des_s_h6_l6.safetensors
"""

_base_ = ["../cluster/des_s_h6_l6_cifar100.py"]

model = dict(init_cfg=dict(checkpoint="work_dirs/peg/des_s_h6_l6.safetensors"))
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
