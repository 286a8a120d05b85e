"""Tiny segmentation sets in the official layouts of ADE20K, Pascal Context and Cityscapes."""

from pathlib import Path

import numpy as np
from PIL import Image


def make_pair(image: Path, label: Path, classes: int, size: tuple[int, int], seed: int) -> None:
    """An image of coloured tiles and its label map; values 0 to ``classes`` - 1."""
    rng = np.random.default_rng(seed)
    tiles = rng.integers(0, classes, (4, 6))
    labels = np.kron(tiles, np.ones((size[1] // 4, size[0] // 6), int)).astype(np.uint8)
    colours = np.random.default_rng(0).integers(0, 256, (classes, 3), dtype=np.uint8)
    for path in (image, label):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(colours[labels]).save(image)
    Image.fromarray(labels).save(label)


def make_ade20k(root: Path) -> Path:
    """``ADEChallengeData2016``: label 0 is "other", 1 to 150 the classes."""
    for split, short in (("training", "train"), ("validation", "val")):
        for i in range(2):
            name = f"ADE_{short}_{i:08}"
            folder = root / "images" / split, root / "annotations" / split
            make_pair(folder[0] / f"{name}.jpg", folder[1] / f"{name}.png", 151, (96, 64), i)
    return root


def make_pascal_context(root: Path) -> Path:
    """``VOCdevkit/VOC2010`` after label preparation: 0 is the background, 1 to 59 the classes."""
    splits = root / "ImageSets" / "SegmentationContext"
    splits.mkdir(parents=True, exist_ok=True)
    for split, first in (("train", 0), ("val", 2)):
        names = [f"2008_{i:06}" for i in range(first, first + 2)]
        (splits / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for i, name in enumerate(names, first):
            label = root / "SegmentationClassContext" / f"{name}.png"
            make_pair(root / "JPEGImages" / f"{name}.jpg", label, 60, (96, 64), i)
    return root


def make_cityscapes(root: Path) -> Path:
    """``cityscapes`` after label preparation: 0 to 18 the classes."""
    for split, city in (("train", "aachen"), ("val", "frankfurt")):
        for i in range(2):
            name = f"{city}_{i:06}_000019"
            image = root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png"
            label = root / "gtFine" / split / city / f"{name}_gtFine_labelTrainIds.png"
            make_pair(image, label, 19, (96, 64), i)
    return root
