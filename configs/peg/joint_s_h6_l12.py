"""PEG: descendant h6-l12 of DeiT-S that trains together with the maps that make it; exports a learngene.

As with Cluster-Learngene, but for 100 epochs and with clipping, as all of PEG's descendants.
"""

_base_ = ["../cluster/joint_s_h6_l12.py"]

model = dict(learngene=dict(path="work_dirs/peg/deit_s.safetensors"))
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
train_cfg = dict(max_epochs=100)
