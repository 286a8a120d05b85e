"""How images are made ready for a ViT: what its source says, in timm's words, and Hugging Face's processor for it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import timm

from .errors import LearngeneError
from .spec import ViTSpec

# of each channel in images scaled to 0 to 1; and how they are resized and cropped, as timm's create_transform says it
NAMES = ("mean", "std", "interpolation", "crop_pct", "crop_mode")
USUAL = dict(interpolation="bicubic", crop_pct=0.875, crop_mode="center")  # where a source says mean and std alone


def preprocessing_of(name: str) -> dict:
    """How a timm model or a Hugging Face folder wants its images: those of :data:`NAMES` that it says.

    Empty for what is neither.

    Raises:
        LearngeneError: the folder's ``preprocessor_config.json`` is damaged.
    """
    file = Path(name) / "preprocessor_config.json"
    if file.is_file():
        try:
            return _of_processor(json.loads(file.read_text()))
        except (ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError, RecursionError) as error:
            raise LearngeneError(f"{file} is damaged: {error}") from error
    if not timm.is_model(name):
        return {}
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    return {key: config[key] for key in NAMES if key in config}


def _of_processor(config: dict) -> dict:
    """What a ``preprocessor_config.json`` says: resizing by the shorter side and a crop, or to a whole size."""
    from PIL.Image import Resampling

    told = {ours: tuple(config[its]) for ours, its in dict(mean="image_mean", std="image_std").items() if its in config}
    if told and config.get("do_normalize") is False:
        told = dict(mean=(0.0,) * len(config["image_mean"]), std=(1.0,) * len(config["image_mean"]))
    if "resample" in config:
        told["interpolation"] = Resampling(config["resample"]).name.lower()
    size, crop = config.get("size"), config.get("crop_size")
    crops = bool(config.get("do_center_crop")) and crop is not None
    short = size if isinstance(size, int) else (size or {}).get("shortest_edge")
    if isinstance(size, dict) and "height" in size:
        told["crop_mode"], side = "squash", size["height"]
    elif short and crops:
        told["crop_mode"], side = "center", short
    elif isinstance(size, int):  # as ViTs without a crop were written of old
        told["crop_mode"], side = "squash", size
    else:
        return told
    told["crop_pct"] = (crop if isinstance(crop, int) else crop["height"]) / side if crops else 1.0
    return told


def image_processor(told: dict, spec: ViTSpec):
    """An image processor of Hugging Face for images of a spec's size.

    Args:
        told: ``mean`` and ``std``, and what is known of the other :data:`NAMES`; for the rest :data:`USUAL`.
        spec: the ViT.

    Returns:
        A ``BitImageProcessor``, which can be told all of it.

    Raises:
        LearngeneError: images have not three channels, or are padded before they are cropped.
    """
    from PIL.Image import Resampling
    from transformers import BitImageProcessor

    known = {**USUAL, **told}
    if spec.in_channels != 3:
        raise LearngeneError(f"images have {spec.in_channels} channels, which its image processors do not take")
    if known["crop_mode"] not in ("center", "squash"):
        raise LearngeneError(f"crop_mode={known['crop_mode']!r} is nothing that its image processors do")
    height, width = (math.floor(side / known["crop_pct"]) for side in spec.img_size)
    squash = known["crop_mode"] == "squash"
    return BitImageProcessor(
        image_mean=list(known["mean"]),
        image_std=list(known["std"]),
        resample=int(Resampling[known["interpolation"].upper()]),
        size=dict(height=height, width=width) if squash else dict(shortest_edge=max(height, width)),
        do_center_crop=not squash or (height, width) != spec.img_size,
        crop_size=dict(height=spec.img_size[0], width=spec.img_size[1]),
    )


def pretrained_cfg(told: dict, spec: ViTSpec) -> dict:
    """The same in timm's words, for ``timm.create_model(..., pretrained_cfg_overlay=...)``.

    Args:
        told: those of :data:`NAMES` that are known; where mean and std are, :data:`USUAL` for the rest.
        spec: the ViT.
    """
    known = {**USUAL, **told} if told else {}
    known = {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}
    return dict(input_size=(spec.in_channels, *spec.img_size), **known)


def resizing(told: dict) -> str:
    """How images are resized, in words."""
    known = {**USUAL, **told}
    way = "to the size" if known["crop_mode"] == "squash" else "by the shorter side"
    crop = f", the middle {known['crop_pct']:.4g} of a side kept" if known["crop_pct"] != 1 else ""
    assumed = "" if USUAL.keys() <= told.keys() else " (assumed, as the learngene does not say all of it)"
    return f"{known['interpolation']}, {way}{crop}{assumed}"
