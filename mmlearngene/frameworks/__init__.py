"""Layouts: canonical weights to and from the classes of a framework; one file a framework, tables only.

The tables of a framework are imported when a model of it is there or is asked for.
"""

from __future__ import annotations

import importlib
import sys

import torch
from torch import nn

from ..errors import LearngeneError, check_choice
from ..vit.adapt import adapt_weights, fitting_specs
from ..vit.spec import ViTSpec
from ..vit.weights import ViTWeights
from .base import Layout, some
from .live import Found, find, weights_of
from .run import check_function

# framework -> the package it is, and what to install where it is missing
FRAMEWORKS = {
    "timm": ("timm", "timm"),
    "hf": ("transformers", "mmlearngene[hf]"),
    "torchvision": ("torchvision", "torchvision"),
    "mmpretrain": ("mmpretrain", "mmlearngene[mm]"),
    "mmseg": ("mmseg", "mmlearngene[mm]"),
}


def layouts_of(framework: str) -> tuple[Layout, ...]:
    """The tables of a framework's classes, the first choice for building first.

    Raises:
        LearngeneError: the framework is unknown or not installed.
    """
    package, install = FRAMEWORKS[check_choice(framework, FRAMEWORKS, "framework")]
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise LearngeneError(f"the {framework} layout needs {package}: pip install {install}") from error
    return tables(framework)


def tables(framework: str) -> tuple[Layout, ...]:
    """The tables of a framework, which need not be installed to read them."""
    module = "hf_relatives" if framework == "hf" else framework  # which has those of hf first
    return importlib.import_module(f".{module}", __name__).LAYOUTS


def layout_for(spec: ViTSpec, framework: str) -> Layout:
    """The first table of a framework whose class can be a ViT of ``spec``.

    Raises:
        LearngeneError: none can; the message names the feature, and the frameworks that can.
    """
    candidates = layouts_of(framework)
    lacking = {layout: layout.lacks(spec) for layout in candidates}
    for layout, feature in lacking.items():
        if feature is None:
            return layout
    others = [
        other
        for other, (package, _) in FRAMEWORKS.items()
        if other != framework and package in sys.modules and any(t.lacks(spec) is None for t in layouts_of(other))
    ]
    hint = f"; {', '.join(others)} can" if others else ""
    reasons: dict[str, dict[str, None]] = {}  # feature -> the classes that lack it
    for layout, feature in lacking.items():
        reasons.setdefault(feature, {})[layout.cls.rpartition(".")[2]] = None
    words = "; ".join(f"{some(classes, 2)}: {feature}" for feature, classes in reasons.items())
    raise LearngeneError(f"no class of {framework} can be the {spec.kind} {spec} with its features ({words}){hint}")


def first_layout(spec: ViTSpec) -> Layout:
    """The first table of any installed framework whose class can be a ViT of ``spec``; all of them compute the same.

    Raises:
        LearngeneError: none can; the message is that of timm.
    """
    errors = []
    for framework in FRAMEWORKS:
        try:
            return layout_for(spec, framework)
        except LearngeneError as error:
            errors.append(error)
    raise errors[0]


def fit(weights: ViTWeights, framework: str, adapt: bool = False) -> tuple[Layout, ViTWeights, list[str]]:
    """The table of a framework whose class can be the ViT of these weights, and the weights for it.

    Args:
        weights: canonical weights.
        framework: ``timm``, ``hf``, ``torchvision``, ``mmpretrain`` or ``mmseg``.
        adapt: where no class has the features, take one that computes the same with biases of 0, a LayerScale of 1 or
            one that is folded, or positions that are part of the tokens.

    Returns:
        The table, the weights, and in words what was adapted.

    Raises:
        LearngeneError: no class can; the message names the features.
    """
    for target in fitting_specs(weights.spec) if adapt else ():
        for layout in layouts_of(framework):
            if layout.lacks(target) is None:
                return layout, *adapt_weights(weights, target)
    return layout_for(weights.spec, framework), weights, []


def known_layouts() -> list[Layout]:
    """The tables of all frameworks that are imported by now; a live model of any other cannot be there."""
    return [t for name, (package, _) in FRAMEWORKS.items() if package in sys.modules for t in layouts_of(name)]


def find_vit(model: nn.Module, path: str | None = None) -> Found:
    """The ViT in a live model of any framework, see :func:`mmlearngene.frameworks.live.find`."""
    return find(model, known_layouts(), path)


def build(weights: ViTWeights, framework: str = "timm", adapt: bool = False) -> nn.Module:
    """A live model of a framework with these weights, in training mode.

    Args:
        weights: canonical weights; what they do not give (a fresh head, say) keeps the model's start values.
        framework: ``timm``, ``hf``, ``torchvision``, ``mmpretrain`` or ``mmseg``.
        adapt: see :func:`fit`.

    Returns:
        A plain model of the framework, classifier included where the spec has classes.

    Raises:
        LearngeneError: no class of the framework has the features.
    """
    layout, weights, _ = fit(weights, framework, adapt)
    model = layout.build(weights.spec)
    path, own = layout.path_in(model), dict(model.named_parameters())
    written = layout.state_dict(weights, path)
    inside = f"{path}." if path else ""
    with torch.no_grad():
        for key, tensor in written.items():
            own[key].copy_(tensor)
        for key in own.keys() - written.keys():
            if layout.is_dead(key.removeprefix(inside)):
                own[key].zero_()
    return model


def built_anywhere(weights: ViTWeights) -> nn.Module:
    """:func:`build` in the first framework that can, for use in this process; in evaluation mode.

    Raises:
        LearngeneError: see :func:`first_layout`.
    """
    model = build(weights, first_layout(weights.spec).framework)
    model.eval()  # of which a backbone of mmpretrain returns nothing
    return model


__all__ = [
    "FRAMEWORKS",
    "Found",
    "Layout",
    "build",
    "built_anywhere",
    "check_function",
    "find",
    "find_vit",
    "first_layout",
    "fit",
    "layout_for",
    "layouts_of",
    "tables",
    "weights_of",
]
