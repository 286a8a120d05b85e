"""Pascal Context: 59 classes, the background ignored; see pascal_context.py."""

_base_ = "./pascal_context.py"

task = dict(num_classes=59)
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[1].reduce_zero_label = test_pipeline[2].reduce_zero_label = True
train_dataloader = dict(dataset=dict(type="PascalContextDataset59", pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(type="PascalContextDataset59", pipeline=test_pipeline))
test_dataloader = val_dataloader
