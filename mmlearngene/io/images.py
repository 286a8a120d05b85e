"""Images in a folder, each with the pixels that a viewer shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from timm.data import ImageDataset, create_transform
from torch import Tensor

from ..errors import LearngeneError, in_words

_DEEP = ("I;16", "I;16B", "I;16L", "I;16N", "I")  # PIL's modes of grey images with 16 bits, or 32


def open_image(path: str | Path, channels: int = 3) -> Image.Image:
    """An image file with 8 bits a channel, turned as its camera says.

    PIL would cut off grey values above 255 of 16 bits, and leave turning to its caller.

    Args:
        path: the file.
        channels: 3 for RGB, 1 for grey.

    Raises:
        LearngeneError: it is no whole image, or would take more memory than any photo.
    """
    try:
        with Image.open(path) as image:
            if image.mode in _DEEP:
                values = np.asarray(image, np.float64)
                image = Image.fromarray((values / 257).round().clip(0, 255).astype(np.uint8))
            return ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, TypeError, MemoryError, Image.DecompressionBombError) as error:
        raise LearngeneError(f"{path} cannot be read as an image ({in_words(error)})") from error


class FolderImages(ImageDataset):
    """The images of a folder and its subfolders, whose names are their classes, in timm's order.

    timm's own reads another image in the place of one that is broken.

    Args:
        folder: the folder.
        transform: from an image to a tensor.
        channels: see :func:`open_image`.

    Attributes:
        classes: names of the folders, in order of their labels.

    Raises:
        LearngeneError: there are no images, one of them is no file (a pipe, say), or, when it is read, is broken.
    """

    def __init__(self, folder: str | Path, transform: Callable[[Image.Image], Tensor], channels: int) -> None:
        try:
            super().__init__(str(folder), transform=transform)
        except RuntimeError as error:
            raise LearngeneError(f"the folder {folder} holds no images: {error}") from error
        for path, _ in self.reader.samples:
            if not Path(path).is_file():
                raise LearngeneError(f"{path} is no file; expected images alone in {folder}")
        self.classes = list(self.reader.class_to_idx)
        self.channels = channels

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.reader.samples[index]
        return self.transform(open_image(path, self.channels)), label


def folder_images(
    folder: str | Path,
    size: tuple[int, int, int],
    mean: Sequence[float],
    std: Sequence[float],
    interpolation: str = "bicubic",
    crop_pct: float = 0.875,
    crop_mode: str = "center",
) -> FolderImages:
    """The images of a folder, resized, cropped and normalised by timm.

    Args:
        folder: the folder.
        size: of a tensor: channels, height, width.
        mean: of each channel, in images scaled to [0, 1].
        std: of each channel, likewise.
        interpolation: of resizing, ``bicubic``, ``bilinear``, ...
        crop_pct: share of the resized image's side that is cropped from its centre.
        crop_mode: ``center`` resizes by the shorter side, ``squash`` to the whole size, ``border`` pads.

    Raises:
        LearngeneError: see :class:`FolderImages`.
    """
    how = dict(interpolation=interpolation, crop_pct=crop_pct, crop_mode=crop_mode)
    return FolderImages(folder, create_transform(size, mean=mean, std=std, **how), size[0])
