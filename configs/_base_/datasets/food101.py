"""Food-101 at 224 pixels with DeiT's augmentation; global batch 512 on 4 GPUs."""

_base_ = ["./imagenet_deit.py"]

data_preprocessor = dict(num_classes=101)
of_set = dict(_delete_=True, type="Food101", data_root="data/food-101")
train_dataloader = dict(dataset=dict(**of_set, split="train", pipeline={{_base_.train_pipeline}}))
val_dataloader = dict(dataset=dict(**of_set, split="test", pipeline={{_base_.test_pipeline}}))
test_dataloader = val_dataloader
