"""Frozen teachers for distillation: any timm model, or any mmpretrain classifier with a checkpoint."""

from __future__ import annotations

import difflib

import torch
from mmengine.config import Config
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import LearngeneError
from ..files import existing, load_state_dict
from ..registry import MODELS
from .pretrained import demand_pretrained

_URL = ("http://", "https://")


class Teacher(nn.Module):
    """A classifier that takes the student's inputs and sees them normalised and sized as it was trained.

    Args:
        model: (B, C, H, W) -> logits (B, classes).
        mean: the model's mean on pixels of 0 to 255, one number a channel, in RGB order where there are three.
        std: likewise.
        input_size: (height, width) that the model needs; None takes every size.
        rgb: whether three channels are in RGB order for the model.
    """

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

    def forward(self, inputs: Tensor, preprocessor: BaseDataPreprocessor) -> Tensor:
        """Logits (B, classes) for inputs (B, C, H, W) that were normalised by ``preprocessor``."""
        if getattr(preprocessor, "_enable_normalize", False):
            inputs = inputs * preprocessor.std + preprocessor.mean
        if inputs.shape[1] == 3 and self.rgb != preprocessor.to_rgb:
            inputs = inputs.flip(1)
        inputs = (inputs - self.mean) / self.std
        if self.input_size and tuple(inputs.shape[-2:]) != tuple(self.input_size):
            inputs = F.interpolate(inputs, self.input_size, mode="bicubic", antialias=True)
        return self.model(inputs)


@MODELS.register_module()
class TimmTeacher(Teacher):
    """Any timm classifier, with timm's own mean, std and input size.

    Args:
        model_name: timm's name, ``levit_384`` in the papers.
        pretrained: load timm's weights (from the hub or its cache); a ``checkpoint`` goes before them.
        checkpoint: file or URL of a state dict.
        **kwargs: further arguments of ``timm.create_model`` (``num_classes``, ``in_chans``, ``img_size``).

    Raises:
        LearngeneError: no such model, no source of weights is given or can be reached, or the checkpoint does not fit.
    """

    def __init__(self, model_name: str, pretrained: bool = False, checkpoint: str | None = None, **kwargs) -> None:
        import timm
        from timm.data import resolve_model_data_config

        self.check(model_name, pretrained, checkpoint)
        model = timm.create_model(model_name, pretrained=pretrained and checkpoint is None, **kwargs)
        if checkpoint is not None:
            _load(model, checkpoint)
        data = resolve_model_data_config(model, args=kwargs)  # an img_size among them is the input size
        mean, std = ([255 * value for value in data[key]] for key in ("mean", "std"))
        super().__init__(model, mean, std, input_size=data["input_size"][-2:])

    @staticmethod
    def check(model_name: str, pretrained: bool = False, checkpoint: str | None = None, **kwargs) -> None:
        """Say within seconds whether there is such a teacher and whether its weights can be had.

        Raises:
            LearngeneError: see the class.
        """
        import timm

        if not timm.is_model(model_name):
            near = difflib.get_close_matches(model_name, timm.list_models(), n=3)
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
    """Any mmpretrain classifier, with its own data preprocessor's mean and std.

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
            cfg = Config.fromfile(config)
            config, preprocessor = cfg.model, cfg.get("data_preprocessor", {})
        model = MODELS.build(config)
        _load(model, checkpoint)
        own = {**preprocessor, **(config.get("data_preprocessor") or {})}
        size = (input_size, input_size) if isinstance(input_size, int) else input_size
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
