"""Each token of the descendant is classified by one linear layer: linear probing, or trained end to end.

A config adds the descendant's size and the data set's classes: ``model = linear(size('h6-l12'), **_base_.task)`` freezes the
descendant, ``linear_tuned`` trains it too.
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
