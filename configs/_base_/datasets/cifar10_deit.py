"""CIFAR-10 at 224 pixels with ImageNet's statistics and random erasing, as CIFAR-100 in cifar100_deit.py."""

_base_ = ["./cifar100_deit.py"]

data_preprocessor = dict(num_classes=10)
train_dataloader = dict(dataset=dict(type="CIFAR10", data_root="data/cifar10"))
val_dataloader = dict(dataset=dict(type="CIFAR10", data_root="data/cifar10"))
test_dataloader = val_dataloader
