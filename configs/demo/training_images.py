"""The training images of the digits, where the principal learngene looks at them: as a validation set, without labels."""

_base_ = ["./ancestry.py"]

val_dataloader = dict(dataset=dict(split="train"))
