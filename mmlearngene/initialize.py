"""Initialise a plain ViT from a learngene, and report what happened to every tensor."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from .errors import LearngeneError
from .layouts import LAYOUTS, SWIN, Layout
from .learngenes import Learngene, load
from .swin import SwinSpec
from .tables import table
from .vit import ViTSpec

STATUSES = ("inherited", "resized", "random", "unused")


@dataclass
class LoadReport:
    """What an initialisation did, tensor by tensor.

    Attributes:
        size: the descendant, ``'h6-l12'``.
        source: method and file of the learngene.
        tensors: (name, status, number of parameters). ``inherited`` and ``resized`` (positions or patch kernel,
            resampled) were set; ``random`` keep the model's own start values; ``unused`` are of the learngene and
            have no place in the model.
        share: share of the ViT's parameters, its classifier head left out, that were inherited or resized.
        notes: differences that are no error, such as another LayerNorm epsilon.
    """

    size: str
    source: str
    tensors: list[tuple[str, str, int]]
    share: float
    notes: list[str] = field(default_factory=list)

    def count(self, status: str) -> int:
        """Number of parameters with this status."""
        return sum(numel for _, found, numel in self.tensors if found == status)

    def rows(self) -> list[tuple[str, int, int, str]]:
        """The tensors with those of all layers in one row: (name, tensors, parameters, status)."""
        merged: dict[tuple[str, str], list[int]] = {}
        for name, status, numel in self.tensors:
            merged.setdefault((re.sub(r"(layers|blocks)\.\d+\.", r"\1.*.", name), status), []).append(numel)
        return [(name, len(numels), sum(numels), status) for (name, status), numels in merged.items()]

    def __str__(self) -> str:
        rows = [("tensor", "count", "parameters", "status")]
        rows += [(name, str(count), f"{numel:,}", status) for name, count, numel, status in self.rows()]
        totals = ", ".join(f"{status} {self.count(status):,}" for status in STATUSES)
        title = f"{self.size} from {self.source}: {self.share:.1%} of the backbone inherited"
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join([title, table(rows, "<>><"), f"parameters: {totals}", *notes])


def initialize(
    model: nn.Module,
    learngene: Learngene | str | Path,
    *,
    min_inherited: float | None = None,
    head: str = "auto",
    **options,
) -> LoadReport:
    """Initialise the plain ViT or Swin in ``model`` from a learngene: all is checked first, then all is copied.

    Args:
        model: timm's ``VisionTransformer``, mmpretrain's, or any model with the latter as its ``backbone`` (an
            ``ImageClassifier``, a segmentor). Its size says which descendant is expanded. A backbone's
            ``expand_options`` are defaults of ``options``. For a Swin's learngene: mmpretrain's ``SwinTransformer``
            or mmsegmentation's, in the same places.
        learngene: a learngene, or the path of its file.
        min_inherited: smallest acceptable share of the ViT's parameters (classifier head left out) to inherit. The
            method's own when omitted: 0.9, but 0 where layers are left random by design (scratch, mimetic, ...).
        head: ``inherit`` the classifier head, leave it ``fresh``, or ``auto``: inherit where the classes agree.
        **options: options of the method's expansion (``rows``, ``selection``, ``stages``, ...).

    Raises:
        LearngeneError: there is no plain ViT, its size is out of range, or less than ``min_inherited`` is inherited.
            The model is unchanged then.
    """
    source = ""
    if not isinstance(learngene, Learngene):
        learngene, source = load(learngene), f" ({learngene})"
    if min_inherited is None:
        min_inherited = learngene.min_inherited
    aux = learngene.aux_spec
    found = (_find_swin if isinstance(aux, SwinSpec) else _find_vit)(model, aux)
    options = {**getattr(getattr(model, "backbone", model), "expand_options", {}), **options}
    weights = learngene.expand(found.spec, head=head, **options)
    state = {found.model_key(key): tensor for key, tensor in found.layout.state_dict(weights).items()}
    resampled = found.resampled(aux)

    tensors, total, set_ = [], 0, 0
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        if name in state and state[name].shape != parameter.shape:
            raise LearngeneError(
                f"{name} is {tuple(parameter.shape)} in the model but {tuple(state[name].shape)} from the learngene"
            )
        status = "random" if name not in state else "resized" if name in resampled else "inherited"
        tensors.append((name, status, parameter.numel()))
        if found.in_vit(name):
            total += parameter.numel()
            set_ += parameter.numel() * (status != "random")
    tensors += [(name, "unused", tensor.numel()) for name, tensor in state.items() if name not in parameters]
    report = LoadReport(str(found.spec), learngene.method + source, tensors, set_ / total)
    if found.norm_eps != aux.norm_eps:
        report.notes.append(f"norm_eps is {found.norm_eps} in the model, {aux.norm_eps} in the learngene")
    if report.share < min_inherited:
        raise LearngeneError(
            f"only {report.share:.1%} of the backbone would be inherited, less than min_inherited={min_inherited:.1%}; "
            f"nothing was changed\n{report}"
        )
    with torch.no_grad():
        for name, tensor in state.items():
            if name in parameters:
                parameters[name].copy_(tensor)
    return report


@dataclass
class _FoundViT:
    """A plain ViT inside a model; ``prefix`` + a parameter's name in the model is its name in the layout."""

    layout: Layout
    spec: ViTSpec
    norm_eps: float
    prefix: str

    def model_key(self, key: str) -> str:
        return key.removeprefix(self.prefix)

    def in_vit(self, name: str) -> bool:
        """Whether a parameter belongs to the ViT itself, not to a head."""
        name = self.prefix + name
        return name.startswith("backbone.") if self.layout.name == "mmpretrain" else not name.startswith("head.")

    def resampled(self, aux: ViTSpec) -> set[str]:
        """The model's names of the tensors that another image or patch size changes."""
        names = {"pos_embed": self.spec.grid != aux.grid, "patch_embed.weight": self.spec.patch_size != aux.patch_size}
        return {self.model_key(self.layout.key(name, aux.pool)) for name, changed in names.items() if changed}


def _find_vit(model: nn.Module, aux: ViTSpec) -> _FoundViT:
    """Find the plain ViT by its parameters' names; pooling order is taken to be the learngene's.

    Where it is another, the final norm has another name and shows up as ``random`` and ``unused`` in the report.
    """
    state = dict(model.named_parameters())
    vit, prefix = getattr(model, "backbone", model), ""
    if "blocks.0.attn.qkv.weight" in state and "patch_embed.proj.weight" in state:
        layout, layers, grid, patch = LAYOUTS["timm"], vit.blocks, vit.patch_embed.grid_size, vit.patch_embed.proj
    elif hasattr(vit, "layers") and hasattr(getattr(vit, "patch_embed", None), "init_out_size"):
        layout, layers, grid = LAYOUTS["mmpretrain"], vit.layers, vit.patch_embed.init_out_size
        patch = vit.patch_embed.projection
        prefix = "backbone." if vit is model else ""
    else:
        raise LearngeneError(
            f"{type(vit).__name__} is not a plain ViT that a learngene could initialise; expected timm's "
            "VisionTransformer, mmpretrain's VisionTransformer, or a model with the latter as its `backbone`; "
            "the nearest is backbone=dict(type='mmpretrain.VisionTransformer', ...)"
        )
    class_token = getattr(vit, "cls_token", None) is not None
    if class_token != aux.class_token:
        has, wants = ("a", "none") if class_token else ("no", "one")
        raise LearngeneError(
            f"{type(vit).__name__} has {has} class token and the learngene has {wants}; expected with_cls_token="
            f"{aux.class_token} in mmpretrain's VisionTransformer, class_token={aux.class_token} in timm's"
        )
    spec = layout.infer_spec(
        {prefix + name: parameter for name, parameter in state.items()},
        num_heads=[layer.attn.num_heads for layer in layers],
        img_size=(grid[0] * patch.kernel_size[0], grid[1] * patch.kernel_size[1]),
        pool=aux.pool,
        norm_eps=aux.norm_eps,
    )
    norm = layers[0].norm1  # mmpretrain has it as a property too
    return _FoundViT(layout, spec, norm.eps, prefix)


def _find_swin(model: nn.Module, aux: SwinSpec) -> _FoundViT:
    """Find the plain Swin by its parameters' names."""
    swin = getattr(model, "backbone", model)
    prefix = "backbone." if swin is model else ""
    state = {prefix + name: parameter for name, parameter in model.named_parameters()}
    if "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight" not in state:
        raise LearngeneError(
            f"{type(swin).__name__} is not a plain Swin that this learngene could initialise; expected mmpretrain's "
            "SwinTransformer or a model with it as its `backbone`; the nearest is "
            "backbone=dict(type='mmpretrain.SwinTransformer', ...)"
        )
    spec = SWIN.infer_spec(state, img_size=aux.img_size, norm_eps=aux.norm_eps)
    return _FoundViT(SWIN, spec, swin.stages[0].blocks[0].norm1.eps, prefix)
