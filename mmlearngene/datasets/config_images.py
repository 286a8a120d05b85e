"""Images of an OpenMMLab config's validation set, for those who only want to look at them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, DefaultScope
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import LearngeneError
from ..io.config_files import read_config
from ..vit.spec import ViTSpec


def config_images(path: str | Path, spec: ViTSpec) -> tuple[Dataset, Callable[[list], Tensor]]:
    """The validation set of a config, and a collate function that runs the config's data preprocessor.

    Args:
        path: the config.
        spec: the ViT that the images are for.

    Returns:
        The dataset, and a function from a list of its samples to images (B, C, H, W).

    Raises:
        LearngeneError: no such config, it has no ``val_dataloader``, or its images are not of the ViT's size.
    """
    cfg = read_config(path)
    if cfg.get("val_dataloader") is None:
        raise LearngeneError(f"{path} has no val_dataloader to take images from")
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope") or "mmpretrain"):
        dataset = DATASETS.build(cfg.val_dataloader.dataset)
        preprocessor = MODELS.build({"type": "mmpretrain.ClsDataPreprocessor", **cfg.get("data_preprocessor", {})})

    def collate(samples: list) -> Tensor:
        images = preprocessor(pseudo_collate(samples), training=False)["inputs"]
        wanted = (spec.in_channels, *spec.img_size)
        if images.shape[1:] != wanted:
            raise LearngeneError(f"{path} gives images of {tuple(images.shape[1:])}, but the ancestry takes {wanted}")
        return images

    return dataset, collate
