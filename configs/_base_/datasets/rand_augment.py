"""DeiT's RandAugment, ``rand-m9-mstd0.5-inc1`` in timm's words; a set adds the colour that fills what is empty."""

rand_augment = dict(
    type="RandAugment",
    policies="timm_increasing",
    num_policies=2,
    total_level=10,
    magnitude_level=9,
    magnitude_std=0.5,
)
