"""The ``timm.create_model`` call that makes a ViT, as Python text."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from functools import partial

import timm
import torch

from ..errors import LearngeneError
from ..vit.spec import ViTSpec
from ..vit.tensors import named_shapes
from .base import Layout
from .live import find

# class -> a model of it that timm registers; what this one sets itself, a call has to set
_REGISTERED = {
    "VisionTransformer": "vit_base_patch16_224",
    "VisionTransformerDistilled": "deit_base_distilled_patch16_224",
    "Eva": "eva_giant_patch14_224",
    "Beit": "beit_base_patch16_224",
    "SwinTransformer": "swin_base_patch4_window7_224",
}
_SET = (
    "img_size", "patch_size", "num_classes", "embed_dim", "depth", "depths", "num_heads", "mlp_ratio", "window_size",
    "use_abs_pos_emb", "use_rel_pos_bias", "init_values",
)  # fmt: skip


def create_call(spec: ViTSpec, layout: Layout) -> tuple[list[str], str] | None:
    """The call of ``timm.create_model`` that makes a model of ``spec``, with stock timm alone.

    Args:
        spec: the ViT.
        layout: timm's table for it.

    Returns:
        The imports that it needs, and the call, whose closing bracket is left out so that more can follow. None where
        timm has no arguments for this ViT: heads that differ from layer to layer, say.
    """
    cls = layout.cls.rpartition(".")[2]
    kwargs = _needed(layout, layout.kwargs(spec))
    norm = kwargs.pop("norm_layer", None)
    for more in ({}, {"norm_layer": norm}):  # most are made with the class's own norm
        given = {**kwargs, **more}
        if _makes(_REGISTERED[cls], given, spec, layout):
            imports = {"import timm"}
            arguments = [f"{name}={_source(value, imports)}" for name, value in given.items()]
            return sorted(imports), ", ".join([f'timm.create_model("{_REGISTERED[cls]}"', *arguments])
    return None


def _needed(layout: Layout, kwargs: Mapping) -> dict:
    """Those arguments that are not the class's defaults."""
    module, _, name = layout.cls.rpartition(".")
    defaults: dict[str, object] = {}
    for cls in reversed(getattr(importlib.import_module(module), name).__mro__):  # a subclass hands arguments on
        parameters = inspect.signature(cls.__init__).parameters.values() if cls is not object else ()
        defaults |= {parameter.name: parameter.default for parameter in parameters}
    # create_model passes no None on, so that what a registered model sets cannot be taken back
    return {k: v for k, v in kwargs.items() if v is not None and (k in _SET or v != defaults[k])}


def _source(value: object, imports: set[str]) -> str:
    """A value as Python text; what it has to be imported from is added to ``imports``."""
    if isinstance(value, partial):
        imports.add("from functools import partial")
        own = [f"{name}={_source(each, imports)}" for name, each in value.keywords.items()]
        return f"partial({', '.join([_source(value.func, imports), *own])})"
    if isinstance(value, type):
        public = (
            name for name in ("torch.nn", "timm.layers") if hasattr(importlib.import_module(name), value.__name__)
        )
        imports.add(f"from {next(public, value.__module__)} import {value.__name__}")
        return value.__name__
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _makes(name: str, kwargs: Mapping, spec: ViTSpec, layout: Layout) -> bool:
    """Whether these arguments make a model of this very spec."""
    for device in ("meta", "cpu"):  # some classes read numbers from tensors while they are made
        try:
            with torch.device(device), torch.random.fork_rng(devices=[]):
                found = find(timm.create_model(name, **kwargs), [layout]).spec
        except (LearngeneError, TypeError, RuntimeError, AssertionError, ValueError):
            continue
        same = [(s.features(), s.heads, s.img_size, list(named_shapes(s))) for s in (found, spec)]
        return same[0] == same[1]
    return False
