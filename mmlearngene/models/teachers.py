"""Frozen teachers for distillation: any model of timm or mmpretrain, any ViT of Hugging Face.

A teacher gives logits, or the tokens that it makes of images, as :class:`LearngeneDistiller` asks.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import LearngeneError, nearest
from ..io.checkpoints import load_state_dict
from ..io.config_files import read_config
from ..io.licenses import license_of
from ..io.paths import existing
from ..io.preprocessing import input_size_of, preprocessing_of
from ..registry import MODELS
from ..use.hf_folder import hugging_face_model
from ..use.tokens import TokenModel, Tokens, token_model
from .pretrained import demand_pretrained

_URL = ("http://", "https://")


class Teacher(nn.Module):
    """A model that takes the student's inputs and sees them normalised and sized as it was trained.

    Args:
        model: (B, C, H, W) -> logits (B, classes); for :meth:`tokens` one of those that
            :func:`mmlearngene.use.tokens.token_model` knows.
        mean: the model's mean on pixels of 0 to 255, one number a channel, in RGB order where there are three.
        std: likewise.
        input_size: (height, width) that the model needs; None takes every size.
        rgb: whether three channels are in RGB order for the model.
    """

    size_option = "input_size"  # the argument that says another size

    def __init__(
        self,
        model: nn.Module,
        mean: list[float],
        std: list[float],
        input_size: tuple[int, int] | None = None,
        rgb: bool = True,
    ) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.input_size = input_size
        self.rgb = rgb
        self._said = False

    def forward(self, inputs: Tensor, preprocessor: BaseDataPreprocessor) -> Tensor:
        """Logits (B, classes) for inputs (B, C, H, W) that were normalised by ``preprocessor``."""
        return self.model(self._own(inputs, preprocessor))

    def tokens(self, inputs: Tensor, preprocessor: BaseDataPreprocessor) -> Tokens:
        """Tokens of the same inputs."""
        return self._view[0](self._own(inputs, preprocessor))

    @property
    def token_model(self) -> TokenModel:
        """What the model's tokens are: width, class token, tokens before the patches, classifier.

        Raises:
            LearngeneError: they cannot be told from what else it gives.
        """
        return self._view[0]

    @property
    def sees(self) -> str:
        """The images it takes, in words: ``'224 x 224 images, mean 124 116 104, std 58 57 57'`` (of 255)."""
        size = "{} x {} images".format(*self.input_size) if self.input_size else "images of the student's size"
        mean, std = (" ".join(f"{value:.3g}" for value in part.flatten().tolist()) for part in (self.mean, self.std))
        return f"{size}, mean {mean}, std {std}"

    @cached_property
    def _view(self) -> tuple[TokenModel]:  # in a tuple: no second name of the model's parameters
        return (token_model(self.model),)

    def _own(self, inputs: Tensor, preprocessor: BaseDataPreprocessor) -> Tensor:
        """The inputs in the teacher's normalisation, order of channels and size."""
        if getattr(preprocessor, "_enable_normalize", False):
            inputs = inputs * preprocessor.std + preprocessor.mean
        if inputs.shape[1] == 3 and self.rgb != preprocessor.to_rgb:
            inputs = inputs.flip(1)
        inputs = (inputs - self.mean) / self.std
        if self.input_size and tuple(inputs.shape[-2:]) != tuple(self.input_size):
            self._say_cost(tuple(inputs.shape[-2:]))
            inputs = F.interpolate(inputs, self.input_size, mode="bicubic", antialias=True)
        return inputs

    def _say_cost(self, size: tuple[int, int]) -> None:
        """Say once what a teacher costs that sees larger images than the student."""
        times = math.prod(self.input_size) / math.prod(size)
        if times > 1 and not self._said:
            self._said = True
            print_log(
                "the teacher sees images of {} x {}, the student's {} x {} resized".format(*self.input_size, *size)
                + f": {times:.3g} times the pixels; the teacher's {self.size_option}={size} takes them as they are",
                logger="current",
            )


@MODELS.register_module()
class TimmTeacher(Teacher):
    """Any timm model, with timm's own mean, std and input size.

    Args:
        model_name: timm's name, ``levit_384`` in the papers.
        pretrained: load timm's weights (from the hub or its cache); a ``checkpoint`` goes before them.
        checkpoint: file or URL of a state dict.
        **kwargs: further arguments of ``timm.create_model`` (``num_classes``, ``in_chans``, ``img_size``).

    Raises:
        LearngeneError: no such model, no source of weights is given or can be reached, or the checkpoint does not fit.
    """

    size_option = "img_size"

    def __init__(self, model_name: str, pretrained: bool = False, checkpoint: str | None = None, **kwargs) -> None:
        import timm
        from timm.data import resolve_model_data_config

        self.check(model_name, pretrained, checkpoint)
        model = timm.create_model(model_name, pretrained=pretrained and checkpoint is None, **kwargs)
        if checkpoint is not None:
            _load(model, checkpoint)
        data = resolve_model_data_config(model, args=kwargs)  # an img_size among them is the input size
        mean, std = ([255 * value for value in data[key]] for key in ("mean", "std"))
        channels = data["input_size"][0]
        if channels == 1:  # timm sums the kernels of three channels for one, so its grey has their mean
            mean, std = ([sum(values) / len(values)] for values in (mean, std))
        elif channels != len(mean):
            raise LearngeneError(
                f"teacher {model_name!r} takes {channels} channels, and timm says mean and std of {len(mean)}; "
                "expected in_chans=3 or 1"
            )
        super().__init__(model, mean, std, input_size=data["input_size"][-2:])

    @staticmethod
    def check(model_name: str, pretrained: bool = False, checkpoint: str | None = None, **kwargs) -> None:
        """Say within seconds whether there is such a teacher and whether its weights can be had.

        Raises:
            LearngeneError: see the class.
        """
        import timm

        if not timm.is_model(model_name):
            near = nearest(model_name, timm.list_models(), 3)
            raise LearngeneError(f"timm has no model {model_name!r}; nearest: {', '.join(near) or 'none'}")
        if checkpoint is not None:
            _existing(checkpoint)
        elif pretrained:
            demand_pretrained(model_name)
        else:
            raise LearngeneError(
                f"teacher {model_name!r} needs weights: expected checkpoint=FILE, or pretrained=True for timm's own"
            )


@MODELS.register_module()
class ClassifierTeacher(Teacher):
    """Any mmpretrain classifier, with its own data preprocessor's mean and std; for its tokens a backbone will do.

    Args:
        config: a config file that has a ``model``, or the model's config itself.
        checkpoint: file or URL of its weights.
        input_size: side or (height, width) that the model needs; omitted, it takes the student's images as they are.

    Raises:
        LearngeneError: the checkpoint is missing or does not fit.
    """

    def __init__(self, config: str | dict, checkpoint: str, input_size: int | tuple[int, int] | None = None) -> None:
        self.check(config, checkpoint)
        preprocessor = {}
        if isinstance(config, str):
            cfg = read_config(config)
            config, preprocessor = cfg.model, cfg.get("data_preprocessor", {})
        model = MODELS.build(config)
        _load(model, checkpoint)
        own = {**preprocessor, **(config.get("data_preprocessor") or {})}
        size = None if input_size is None else _pair(input_size)
        super().__init__(model, own.get("mean") or [0.0], own.get("std") or [1.0], size, own.get("to_rgb", False))

    @staticmethod
    def check(config: str | dict, checkpoint: str, **kwargs) -> None:
        """Say whether the files are there.

        Raises:
            LearngeneError: names the one that is not.
        """
        if isinstance(config, str):
            existing(config)
        _existing(checkpoint)


@MODELS.register_module()
class HuggingFaceTeacher(Teacher):
    """Any ViT of Hugging Face (DINOv2, DINOv3, SigLIP, CLIP, ...), with the mean, std and size of its image processor.

    Args:
        folder: a folder with ``config.json`` and weights, as ``save_pretrained`` writes and ``hf download`` loads one.
        input_size: side or (height, width) of its images; its image processor's when omitted.
        mean: of each channel in images scaled to 0 to 1, where the folder has no ``preprocessor_config.json``.
        std: likewise.

    Raises:
        LearngeneError: no such folder, it is no model that can be read, or its mean and std are not known.
    """

    def __init__(
        self,
        folder: str,
        input_size: int | tuple[int, int] | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> None:
        self.check(folder, mean=mean, std=std)
        path = Path(folder).expanduser()
        # one that hides patches or is in half precision would give other tokens than its weights can
        model = token_model(hugging_face_model(path)).model.float()
        told = preprocessing_of(path) if not (mean and std) else {}
        mean, std = mean or told["mean"], std or told["std"]
        super().__init__(model, [255 * value for value in mean], [255 * value for value in std])
        self.input_size = _pair(input_size or input_size_of(path) or self.token_model.img_size)
        channels = self.token_model.in_channels
        if len(mean) != channels or len(std) != channels:
            raise LearngeneError(
                f"{folder} takes {channels} channels, and mean={tuple(mean)}, std={tuple(std)} are of {len(mean)}; "
                f"expected mean=... and std=... of {channels}"
            )

    def forward(self, inputs: Tensor, preprocessor: BaseDataPreprocessor) -> Tensor:
        """Logits (B, classes), see :class:`Teacher`.

        Raises:
            LearngeneError: the model has no classifier.
        """
        images = self._own(inputs, preprocessor)
        found = self.model(images, **self.token_model.size_arguments(images))
        if isinstance(found, Tensor):
            return found
        if "logits" not in found:
            raise LearngeneError(
                f"{type(self.model).__name__} has no classifier, so it gives no logits; expected features=[...], which "
                "distil its tokens"
            )
        return found["logits"]

    @staticmethod
    def check(
        folder: str, mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None, **kwargs
    ) -> None:
        """Say whether the files are there.

        Raises:
            LearngeneError: names the one that is not.
        """
        path = Path(folder).expanduser()
        existing(path / "config.json")
        if not (mean and std) and "mean" not in preprocessing_of(path):
            raise LearngeneError(
                f"{folder} has no preprocessor_config.json, so its mean and std are not known; expected the file "
                "beside config.json, or mean=... and std=..., of channels scaled to 0 to 1"
            )


def build_teacher(config: dict) -> nn.Module:
    """The frozen teacher of a config.

    Its start values are drawn and then replaced by its weights. No random number is used up by that, so a run draws the
    same whether its teacher is built before, in a step, or not at all (:class:`~mmlearngene.models.CachedTeacher`).
    """
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []):
        teacher = MODELS.build(config)
    random.setstate(states[0])
    np.random.set_state(states[1])
    return teacher.eval().requires_grad_(False)


def licenses_of_teacher(config: Mapping) -> list[str | None]:
    """The licences that bind what is distilled from a teacher: of its folder, its checkpoint's card, or timm."""
    inner = config.get("teacher")  # of CachedTeacher
    found = licenses_of_teacher(inner) if isinstance(inner, Mapping) else []
    name = config.get("model_name", "")
    if config.get("pretrained") or "." in name:  # a name with a tag is of weights, one without of a class of models
        found.append(license_of(name))
    return [*found, *(license_of(config[key]) for key in ("folder", "checkpoint") if config.get(key))]


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _existing(checkpoint: str) -> None:
    if not checkpoint.startswith(_URL):
        existing(checkpoint)


def _load(model: nn.Module, checkpoint: str) -> None:
    """Load a state dict from a file or URL; every tensor has to fit."""
    if checkpoint.startswith(_URL):
        state = torch.hub.load_state_dict_from_url(checkpoint, map_location="cpu", weights_only=True)
        state = state.get("model", state.get("state_dict", state))
    else:
        state = load_state_dict(checkpoint)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise LearngeneError(f"the teacher's checkpoint {checkpoint} does not fit: {error}") from error
