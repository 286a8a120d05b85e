"""Read a JPEG no larger than its random crop needs."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmpretrain.datasets.transforms import RandomResizedCrop
from PIL import Image

from ..registry import TRANSFORMS

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
}
_ORIENTATION = 0x0112  # of EXIF; 1 is as stored


@TRANSFORMS.register_module()
class LoadRandomResizedCrop(RandomResizedCrop):
    """``LoadImageFromFile`` and ``RandomResizedCrop`` in one, which draws the crop before it decodes the image.

    A JPEG's header tells its size, and libjpeg-turbo decodes at a half, a quarter or an eighth for a fraction of the
    time (Pillow's ``draft``). So the image is decoded at the smallest of these sizes whose crop has at least as many
    pixels as are wanted, and then resized from there, as thumbnails are made. The draws are those of the two
    transforms: the same seed gives the same crops. A crop of less than twice the wanted side is decoded whole, and
    equals what the two transforms give with ``backend="pillow"``, up to the rounding of two decoders.

    Other files than JPEGs in 8 bits of RGB or grey, and photos that EXIF turns, go through the two transforms.

    Args:
        scale: side, or (height, width), of the result, pixels.
        interpolation: of resizing: ``nearest``, ``bilinear``, ``bicubic``, ``area`` or ``lanczos``.
        **kwargs: see mmpretrain's ``RandomResizedCrop``.
    """

    def __init__(self, scale: int | tuple[int, int], interpolation: str = "bicubic", **kwargs) -> None:
        super().__init__(scale, interpolation=interpolation, backend="pillow", **kwargs)
        self._load = LoadImageFromFile()

    def transform(self, results: dict) -> dict:
        """Read and crop: from ``img_path`` to ``img`` (height, width, 3), BGR of 0 to 255, as mmcv has it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of damaged EXIF, which is then not used
            with Image.open(results["img_path"]) as image:
                if self._is_plain(image):
                    return self._cropped(image, results)
        return super().transform(self._load.transform(results))

    def _cropped(self, image: Image.Image, results: dict) -> dict:
        width, height = image.size
        top, left, rows, columns = self.rand_crop_params(SimpleNamespace(shape=(height, width)))
        wanted = tuple(self.scale)
        factor = min(rows // wanted[0], columns // wanted[1], 8)
        if factor > 1:
            # of 1, 2, 4 and 8 the largest that leaves each side of the image no smaller than this
            image.draft("RGB", (-(-width // factor), -(-height // factor)))
        smaller = image.size[0] / width, image.size[1] / height
        box = (left * smaller[0], top * smaller[1], (left + columns) * smaller[0], (top + rows) * smaller[1])
        image = image.convert("RGB")
        if smaller == (1.0, 1.0):  # so that pixels beside the crop are not in it
            image, box = image.crop(tuple(map(round, box))), None
        image = image.resize(wanted[::-1], _FILTERS[self.interpolation], box=box)
        results["img"] = np.ascontiguousarray(np.asarray(image)[:, :, ::-1])
        results["img_shape"], results["ori_shape"] = results["img"].shape, (height, width)
        return results

    @staticmethod
    def _is_plain(image: Image.Image) -> bool:
        return image.format == "JPEG" and image.mode in ("RGB", "L") and image.getexif().get(_ORIENTATION, 1) == 1
