"""How images are made ready for a ViT: what its source says, in timm's words, and Hugging Face's processor for it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import timm
from PIL.Image import Resampling

from ..errors import LearngeneError, in_words
from ..utils.typed import shortened
from ..vit.spec import ViTSpec

_LOGGER = logging.getLogger("mmlearngene")
# of each channel in images scaled to 0 to 1; and how they are resized and cropped, as timm's create_transform says it
NAMES = ("mean", "std", "interpolation", "crop_pct", "crop_mode")
USUAL = dict(interpolation="bicubic", crop_pct=0.875, crop_mode="center")  # where a source says mean and std alone


# files in which a folder says how its images are made ready; transformers 5 writes the second for some models
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
# processors that resize and crop as timm does; others cut an image into tiles (Idefics3), pad it or round its sides
_RESIZES = {"Beit", "Bit", "Blip", "CLIP", "ChineseCLIP", "DINOv3ViT", "DeiT", "Ovis2", "OwlViT", "Siglip", "ViT"}


def preprocessing_of(name: str | Path) -> dict:
    """How a timm model, or a folder of Hugging Face or timm, wants its images: those of :data:`NAMES` that it says.

    A folder of Hugging Face is read by transformers' own ``AutoImageProcessor``, so that the defaults of each class,
    the names of old files and nested files mean what they mean there. Empty where nothing is said.

    Raises:
        LearngeneError: the folder's file is damaged.
    """
    folder = Path(name)
    if (folder / "config.json").is_file() and (told := _of_timm_folder(folder)) is not None:
        return told
    if (processor := _processor(folder)) is not None:
        return _of_processor(processor, folder)
    if not timm.is_model(str(name)):
        return {}
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(str(name)).to_dict())
    return {key: config[key] for key in NAMES if key in config}


def input_size_of(folder: Path) -> tuple[int, int] | None:
    """(height, width) of the images that a folder's processor gives; None where it does not say."""
    processor = _processor(folder)
    if processor is None or not _resizes(processor):
        return None
    size = processor.size
    if processor.do_center_crop and processor.crop_size:
        size = processor.crop_size
    sides = (size.get("height"), size.get("width")) if size and processor.do_resize else (None, None)
    return sides if all(sides) else None


def _of_timm_folder(folder: Path) -> dict | None:
    """What timm's ``pretrained_cfg`` in a folder's config says; None where the folder is none of timm's."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (ValueError, RecursionError) as error:
        raise LearngeneError(f"{folder / 'config.json'} is damaged: {error}") from error
    if "architecture" not in config:
        return None
    told = {**config, **(config.get("pretrained_cfg") or {})}  # the older form has them beside each other
    return {name: tuple(v) if isinstance(v := told[name], list) else v for name in NAMES if told.get(name) is not None}


def _processor(folder: Path):
    """The image processor of a Hugging Face folder, all its defaults filled in; None where it has none."""
    if not any((folder / name).is_file() for name in PROCESSORS):
        return None
    try:
        from transformers import AutoImageProcessor
    except ImportError as error:
        raise LearngeneError(f"{folder} needs transformers: pip install mmlearngene[hf]") from error
    try:
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # of a damaged file or an unknown class, each its own kind
        if not (folder / PROCESSORS[0]).is_file():
            return None  # a processor of text alone
        raise LearngeneError(
            f"{folder / PROCESSORS[0]} is damaged, or transformers does not know its image_processor_type "
            f"({shortened(in_words(error), 120)})"
        ) from error


def _of_processor(processor, folder: Path) -> dict:
    """What an image processor does, in timm's words: mean and std of pixels of 0 to 1, and resizing if it is one that
    timm has (by the shorter side and a crop, or to a whole size)."""
    # it computes (pixel * factor - mean) / std of pixels of 0 to 255; ours are of 0 to 1
    scale = 255 * processor.rescale_factor if processor.do_rescale else 255.0
    scale = 1.0 if math.isclose(scale, 1.0, rel_tol=1e-6) else scale
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else (0.0, 1.0)
    try:
        mean, std = (_per_channel(values, folder, scale) for values in (mean, std))
        return dict(mean=mean, std=std, **_resizing(processor))
    except (ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise LearngeneError(f"{folder / PROCESSORS[0]} is damaged: {error}") from error


def _per_channel(values: float | Sequence[float], folder: Path, scale: float) -> tuple[float, ...]:
    """One number a channel; a single number is that of all channels."""
    if isinstance(values, (int, float)):
        file = folder / "config.json"
        config = json.loads(file.read_text()) if file.is_file() else {}
        channels = config.get("num_channels") or (config.get("vision_config") or {}).get("num_channels") or 3
        values = [values] * channels
    return tuple(float(value) / scale for value in values)


def _resizes(processor) -> bool:
    """Whether a processor resizes and crops as timm does."""
    name = type(processor).__name__
    return name.removesuffix("Fast").removesuffix("Pil").removesuffix("ImageProcessor") in _RESIZES


def _resizing(processor) -> dict:
    """Resizing and crop of an image processor; empty where timm has no words for it."""
    if not _resizes(processor):
        return {}
    size, crop = processor.size or {}, processor.crop_size or {}
    ways = ("longest_edge", "max_height", "max_width")
    if not processor.do_resize or getattr(processor, "do_pad", False) or any(size.get(way) for way in ways):
        return {}
    told = dict(interpolation=Resampling(int(processor.resample)).name.lower(), crop_pct=1.0)
    sides = (size["height"], size["width"]) if size.get("height") else (size["shortest_edge"],) * 2
    told["crop_mode"] = "squash" if size.get("height") else "center"
    if not processor.do_center_crop:
        return told
    kept = (crop["height"], crop["width"])
    if kept[0] * sides[1] != kept[1] * sides[0]:
        return {}
    told["crop_pct"] = kept[0] / sides[0]
    if math.floor(kept[0] / told["crop_pct"]) != sides[0]:  # as timm computes it back
        told["crop_pct"] = math.nextafter(told["crop_pct"], 0)
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
