"""PEG, elastic: as joint_s_h6_l12.py, but every step trains h6-l12 and one random smaller descendant.

As with Cluster-Learngene, but for 100 epochs and with clipping, as all of PEG's descendants.
"""

_base_ = ["../cluster/elastic_s.py"]

model = dict(learngene=dict(path="work_dirs/peg/deit_s.safetensors"))
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
train_cfg = dict(max_epochs=100)
