"""Segmenter (Strudel et al., ICCV 2021) with the mask transformer: the LeTs paper's own decoder.

A config adds the descendant's size and the data set's classes: ``model = segmenter(size('h6-l12'), **_base_.task)``.
"""

_base_ = "./segmentor.py"

model = dict(
    decode_head=dict(
        type="SegmenterMaskTransformerHead",
        num_layers=2,
        dropout_ratio=0.0,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
)
