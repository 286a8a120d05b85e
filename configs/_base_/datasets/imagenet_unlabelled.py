"""ImageNet-1K without its labels to train on; with them, k-NN, a linear layer and cosines judge the features.

The bank of labelled images is a twenty-fifth of the training set. Any folder of images, in subfolders or not, trains
by ``--cfg-options train_dataloader.dataset.data_root=FOLDER``. A config imports ``mmlearngene.datasets`` too.
"""

_base_ = ["./imagenet_deit_repeated.py"]

data_preprocessor = dict(num_classes=None)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="CustomDataset",
        data_root="data/imagenet/train",
        with_label=False,
        pipeline={{_base_.train_pipeline}},
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="mmlearngene.BankAndQueries",
        datasets=[
            dict(
                type="mmlearngene.BalancedSubset",
                share=0.04,
                dataset=dict(
                    type="ImageNet", data_root="data/imagenet", split="train", pipeline={{_base_.test_pipeline}}
                ),
            ),
            dict(type="ImageNet", data_root="data/imagenet", split="val", pipeline={{_base_.test_pipeline}}),
        ],
    )
)
test_dataloader = val_dataloader
val_evaluator = [dict(type="mmlearngene.TeacherCosine"), dict(type="mmlearngene.KNN")]
test_evaluator = [*val_evaluator, dict(type="mmlearngene.LinearProbe")]
