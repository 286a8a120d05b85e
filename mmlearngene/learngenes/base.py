"""What every learngene is: parameters with one differentiable ``expand``, and a file to keep them in."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..errors import LearngeneError, check_choice
from ..io.gene import write
from ..utils.typed import check_types
from ..vit.spec import ViTSpec
from ..vit.tensors import LAYER_TENSORS, decays, start_values
from ..vit.weights import ViTWeights
from .facts.base import OF_IMAGES, Facts, counted, keyword_only
from .facts.stacked import StackedFacts
from .origin import is_own, origin

HEADS = ("auto", "inherit", "fresh")


_CANONICAL = re.compile(r"^learngene\.(stages\.\d+\.)?")


class TensorTree(nn.Module):
    """Parameters under their canonical dotted names (``'qkv.weight'``), which a ParameterDict does not allow."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            node = self
            *path, leaf = name.split(".")
            for part in path:
                if part not in node._modules:
                    node.add_module(part, nn.Module())
                node = getattr(node, part)
            node.register_parameter(leaf, nn.Parameter(tensor))

    def tensors(self) -> dict[str, Tensor]:
        """Canonical name -> parameter."""
        return dict(self.named_parameters())

    def copy_(self, weights: ViTWeights) -> None:
        """Set the parameters of which there is a tensor, those of layers stacked."""
        layers, own = weights.layers(), self.tensors()
        for name in weights.tensors.keys() & own.keys():
            of_layers = name in LAYER_TENSORS
            own[name].copy_(torch.stack([layer[name] for layer in layers]) if of_layers else weights.tensors[name])


@lru_cache(maxsize=256)  # a training step asks
def _options_of(expand: Callable, check: Callable) -> Mapping[str, inspect.Parameter]:
    """The keyword-only parameters of an expansion; what has no default there has the one of ``check``."""
    checked, taken = keyword_only(check), keyword_only(expand)
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(expand).parameters.values()):
        taken = {**checked, **taken}
    return {name: checked.get(name, p) if p.default is p.empty else p for name, p in taken.items()}


class Learngene(Facts, nn.Module):
    """A compact set of weights that expands to Vision Transformers of many sizes.

    A method subclasses this, registers with :func:`~mmlearngene.learngenes.methods.register`, creates its parameters
    under ``learngene`` (weights), ``maps`` (what expands them) and ``pos_embed``, and implements :meth:`_expand`.
    ``docs/add_a_method.md`` shows one from beginning to end.

    Its constructor takes ``learngene`` and ``aux``, sizes or specs; every other parameter is an option of the method.
    Options are read from the call itself into :attr:`config`, so that a file rebuilds what was built.

    Args:
        learngene: the ViT that the learngene itself is.
        aux: the ViT that it is trained in, or was extracted from (the largest or reference size).

    Attributes:
        config: the options of the constructor as JSON values, defaults included; saved with the weights. Where a
            constructor chooses for an option that was left open, it writes its choice here.
        provenance: free JSON about where the weights come from (ancestry, dataset, epochs); saved with them.

    Raises:
        LearngeneError: the ViT has a feature that the method's mathematics does not allow, or an option is no JSON
            value.
    """

    # smallest share of a ViT's parameters that initialisation accepts where the caller names none; methods that leave
    # whole layers random by design set it to 0
    min_inherited: ClassVar[float] = 0.9
    # options that a start from another learngene has unless the caller says otherwise, where that one knows them
    start_options: ClassVar[dict[str, object]] = {}

    def __init__(self, learngene: ViTSpec, aux: ViTSpec) -> None:
        nn.Module.__init__(self)
        Facts.__init__(self, learngene, aux)
        self._create()

    # ------------------------------------------------------------------ what a method implements

    def _create(self) -> None:
        """Create the parameters, where a method keeps its constructor apart from them, see :class:`.facts.Facts`."""

    def _expand(self, spec: ViTSpec, **options) -> ViTWeights:
        """The weights of a descendant at the Aux-Net's image, patch and classes."""
        raise NotImplementedError

    def start_from(self, weights: ViTWeights) -> None:
        """Take the weights of a trained ViT for start values, see :func:`mmlearngene.initialize`.

        Args:
            weights: of a ViT of :attr:`learngene_spec`. Tensors may be missing: the learngene's own stay.
        """
        raise NotImplementedError

    @classmethod
    def refuse_start(cls) -> None:
        """Raise LearngeneError where the method is trained on in another way than from a ViT's weights."""

    # ------------------------------------------------------------------ expansion

    def expand(self, size: str | ViTSpec | None = None, *, head: str = "auto", **options) -> ViTWeights:
        """The weights of a descendant, differentiable with respect to every parameter of the learngene.

        Training an Aux-Net and initialising a descendant both call this, so a descendant of the Aux-Net's own size
        is the Aux-Net. Computed outside autocast, in the parameters' own precision.

        Args:
            size: ``'h6-l12'`` or a spec; the Aux-Net's when omitted. Another image or patch size resamples
                positions and patch kernel.
            head: ``'inherit'`` the classifier, start it ``'fresh'`` (left out of the weights), or ``'auto'``:
                inherit where the number of classes is the Aux-Net's.
            **options: the method's own, see its ``check_expansion`` or ``_expand``.

        Raises:
            LearngeneError: the size is out of the method's range, or an option is unknown or does not fit.
        """
        spec = self.target(size)
        self._check_options(options)
        check_choice(head, HEADS, "head")
        if head == "inherit" and spec.num_classes != self.aux_spec.num_classes:
            raise LearngeneError(
                f"head='inherit' with num_classes={spec.num_classes}, but the learngene's head has "
                f"{self.aux_spec.num_classes} classes; use head='fresh' or num_classes={self.aux_spec.num_classes}"
            )
        inside = self.inside(spec)
        options = {name: options.get(name, known.default) for name, known in self.expand_options().items()}
        checked = super().expand_options().keys() & options.keys()
        self.check_expansion(inside, **{name: options[name] for name in checked})
        kinds = (p.device.type for p in self.parameters() if not p.is_meta)  # a learngene without storage expands, too
        with torch.autocast(next(kinds, "cpu"), enabled=False):
            weights = self._expand(inside, **options)
        # an expansion may say more of its spec than was asked for: maps that stay in the attention (PEG)
        weights = weights.resample(weights.spec.replace(**{name: getattr(spec, name) for name in OF_IMAGES}))
        if head == "fresh" or spec.num_classes != inside.num_classes:
            for name in [name for name in weights.tensors if name.startswith("head")]:
                del weights.tensors[name]
        return weights

    def check_size(self, spec: ViTSpec) -> None:
        """See :meth:`.facts.Facts.check_size`; a method from outside is asked by expanding it, without storage."""
        if is_own(type(self)):
            return super().check_size(spec)
        with torch.device("meta"):
            other = type(self)(learngene=self.learngene_spec, aux=self.aux_spec, **self.config)
        other.to("meta").expand(spec)  # all of it, drawn maps included

    @classmethod
    def expand_options(cls) -> Mapping[str, inspect.Parameter]:
        """The options of the expansion: name -> parameter of ``_expand``, or of ``check_expansion``."""
        return _options_of(cls._expand, cls.check_expansion)

    def _check_options(self, options: Mapping) -> None:
        super()._check_options(options)
        check_types(type(self)._expand, options)

    # ------------------------------------------------------------------ training and accounting

    def no_weight_decay(self) -> set[str]:
        """Parameters without weight decay: what is 1-D in the unstacked network, tokens, positions and tables."""
        return {name for name, _ in self.named_parameters() if not decays(_CANONICAL.sub("", name))}

    def stored_params(self) -> dict[str, int]:
        """Numbers of stored parameters: ``learngene``, ``maps``, ``positions`` and ``total``."""
        return counted({name: parameter.shape for name, parameter in self.named_parameters()})

    def column(self, name: str, index: int) -> list[float] | None:
        """See :meth:`.facts.Facts.column`."""
        tensor = self.get_parameter(name).detach()
        return None if tensor.is_meta else tensor[..., index].double().flatten().tolist()

    def with_classes(self, num_classes: int) -> Learngene:
        """The same learngene with another classifier, at its start values; with ``num_classes=0`` without one.

        All other parameters are shared with this one.
        """
        specs = [spec.replace(num_classes=num_classes) for spec in (self.learngene_spec, self.aux_spec)]
        with torch.device("cpu" if num_classes else "meta"):  # start values are of use for a classifier alone
            other = type(self)(learngene=specs[0], aux=specs[1], **self.config)
        own, tensors = dict(self.named_parameters()), {}
        device = next((p.device for p in own.values()), None)
        for name, parameter in other.named_parameters():
            kept = name in own and not _CANONICAL.sub("", name).startswith("head")
            tensors[name] = own[name] if kept else parameter.to(device)
        other.load_state_dict(tensors, strict=True, assign=True)
        other.requires_grad_(True)
        other.provenance = dict(self.provenance)
        return other

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Learngene:
        """The same learngene with these whole tensors in place of its own, of which other processes may have parts."""
        with torch.device("meta"):
            other = type(self)(learngene=self.learngene_spec, aux=self.aux_spec, **self.config)
        other.load_state_dict(tensors, strict=True, assign=True)
        other.requires_grad_(True)
        other.provenance, other.classes = dict(self.provenance), self.classes
        return other

    # ------------------------------------------------------------------ files

    def save(self, path: str | Path) -> Path:
        """Write the learngene to one safetensors file, atomically. See :func:`mmlearngene.load` for the way back."""
        header = {
            "method": self.method,
            "config": self.config,
            "learngene_spec": self.learngene_spec.asdict(),
            "aux_spec": self.aux_spec.asdict(),
            "classes": self.classes,
            "provenance": {**self.provenance, **origin(type(self))},
        }
        return write(path, self.state_dict(), header)


def learngenes_in(model: nn.Module) -> Iterator[tuple[str, Learngene]]:
    """The learngenes that a model trains, an Aux-Net's or that of a distiller's student: name and learngene."""
    for name, module in model.named_modules():
        if isinstance(module, Learngene):
            yield name, module


class StackedLearngene(StackedFacts, Learngene):
    """A learngene that is a stack of whole layers as wide as its Aux-Net, and the tensors outside the layers.

    ``learngene.*`` are the canonical tensors of :attr:`learngene_spec`, positions among them.

    Args:
        aux: the Aux-Net (or ancestry).
        num_layers: layers in the stack.
        learngene: the learngene's size where the caller gives it; it follows from the other two and is checked.

    Raises:
        LearngeneError: another size was given.
    """

    start_options: ClassVar[dict[str, object]] = {"depth": "uniform"}  # its layers stand for all of the Aux-Net's

    def _create(self) -> None:
        self.learngene = TensorTree(start_values(self.learngene_spec, self.learngene_spec.shapes()))
