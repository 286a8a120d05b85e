"""Handwritten digits that scikit-learn carries (1797 grey images of 8 x 8, UCI), as OpenMMLab datasets.

The split is fixed and stratified: 1440 images to train, 357 to test.
"""

from __future__ import annotations

import numpy as np
from mmengine.dataset import BaseDataset

from ..errors import check_choice
from ..registry import DATASETS

SPLITS = ("train", "test")
CLASSES = tuple(str(digit) for digit in range(10))
PALETTE = [
    (31, 119, 180),
    (255, 127, 14),
    (44, 160, 44),
    (214, 39, 40),
    (148, 103, 189),
    (140, 86, 75),
    (227, 119, 194),
    (188, 189, 34),
    (23, 190, 207),
    (255, 221, 113),
]


def load_split(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 8, 8) of 0 to 255, and labels int64 (N,), of ``'train'`` or ``'test'``."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    check_choice(split, SPLITS, "digits split")
    images, labels = load_digits(return_X_y=True)
    images = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    parts = train_test_split(images, labels, test_size=357, stratify=labels, random_state=0)
    return (parts[0], parts[2]) if split == "train" else (parts[1], parts[3])


@DATASETS.register_module()
class DigitsClassification(BaseDataset):
    """The digits as a classification set; its pipeline starts from ``img`` (8, 8, 1) and ``gt_label``.

    Args:
        split: ``train`` or ``test``.
        **kwargs: see ``mmengine.dataset.BaseDataset``.
    """

    METAINFO = dict(classes=CLASSES)

    def __init__(self, split: str = "train", **kwargs) -> None:
        self.split = check_choice(split, SPLITS, "digits split")
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        images, labels = load_split(self.split)
        shape = images.shape[1:]
        return [
            dict(img=image[..., None], img_shape=shape, ori_shape=shape, gt_label=int(label))
            for image, label in zip(images, labels, strict=True)
        ]


@DATASETS.register_module()
class DigitsSegmentation(BaseDataset):
    """Digits scattered over a noisy canvas, every pixel labelled: 0 is background, 1 + d is digit d.

    Strokes are the pixels brighter than a quarter of the range. The canvases are drawn once from ``seed``.

    Args:
        split: ``train`` or ``test``; digits come from the same split of the classification set.
        num_images: canvases.
        canvas: their side in pixels, a multiple of 8.
        num_digits: digits on each, kept from overlapping.
        seed: of the placement.
        **kwargs: see ``mmengine.dataset.BaseDataset``.
    """

    METAINFO = dict(classes=("background", *CLASSES), palette=[(0, 0, 0), *PALETTE])

    def __init__(
        self,
        split: str = "train",
        num_images: int = 480,
        canvas: int = 32,
        num_digits: int = 5,
        seed: int = 0,
        **kwargs,
    ) -> None:
        self.split = check_choice(split, SPLITS, "digits split")
        self.num_images, self.canvas, self.num_digits, self.seed = num_images, canvas, num_digits, seed
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        images, labels = load_split(self.split)
        rng = np.random.default_rng([self.seed, SPLITS.index(self.split)])
        shape = (self.canvas, self.canvas)
        return [self._draw(images, labels, rng, shape) for _ in range(self.num_images)]

    def _draw(self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator, shape: tuple[int, int]) -> dict:
        image = rng.integers(0, 32, shape, dtype=np.uint8)
        mask = np.zeros(shape, dtype=np.uint8)
        taken = np.zeros(shape, dtype=bool)
        placed = 0
        while placed < self.num_digits:
            top, left = rng.integers(0, self.canvas - 7, 2)
            window = slice(top, top + 8), slice(left, left + 8)
            if taken[window].any():
                # a canvas this full may have no free place left: start it anew
                if rng.random() < 0.01:
                    return self._draw(images, labels, rng, shape)
                continue
            taken[window] = True
            index = rng.integers(len(images))
            image[window] = np.maximum(image[window], images[index])
            mask[window] = np.where(images[index] > 64, 1 + labels[index], 0)
            placed += 1
        return dict(
            img=image[..., None],
            img_shape=shape,
            ori_shape=shape,
            gt_seg_map=mask,
            seg_fields=["gt_seg_map"],
            reduce_zero_label=False,
        )
