"""ImageNet-1K with DeiT's augmentation and repeated augmentation: every image three times in an epoch."""

_base_ = ["./imagenet_deit.py"]

train_dataloader = dict(sampler=dict(_delete_=True, type="RepeatAugSampler", shuffle=True, num_repeats=3))
