"""Pascal Context: 59 classes, the background ignored; see pascal_context.py."""

_base_ = "./pascal_context.py"

task = dict(num_classes=59)
train_dataloader = dict(dataset=dict(type="PascalContextDataset59"))
val_dataloader = dict(dataset=dict(type="PascalContextDataset59"))
test_dataloader = val_dataloader
