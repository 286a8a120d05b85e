"""Linear probing: the descendant is frozen, each of its tokens is classified by one linear layer.

A config adds the descendant's size and the data set's classes: ``model = linear('h6-l12', **_base_.task)``.
"""

_base_ = "./segmentor.py"

model = dict(
    decode_head=dict(
        type="FCNHead",
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
)
