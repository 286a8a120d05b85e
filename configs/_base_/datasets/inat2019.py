"""iNaturalist 2019 at 224 pixels with DeiT's augmentation; global batch 512 on 4 GPUs.

``data/inat2019/meta/{train,val}.txt`` list the images and classes, one ``path class`` a line, with paths relative to
``data/inat2019``, as in the set's own ``train2019.json`` and ``val2019.json``.
"""

_base_ = ["./imagenet_deit.py"]

data_preprocessor = dict(num_classes=1010)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="CustomDataset",
        data_root="data/inat2019",
        ann_file="meta/train.txt",
        pipeline={{_base_.train_pipeline}},
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="CustomDataset",
        data_root="data/inat2019",
        ann_file="meta/val.txt",
        pipeline={{_base_.test_pipeline}},
    )
)
test_dataloader = val_dataloader
