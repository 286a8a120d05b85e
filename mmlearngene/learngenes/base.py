"""What every learngene is: parameters with one differentiable ``expand``, and a file to keep them in."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from .. import files
from ..errors import LearngeneError, check_choice
from ..vit import ViTSpec, ViTWeights, spread

HEADS = ("auto", "inherit", "fresh")
# fields in which a descendant may differ from the Aux-Net; all others follow from the weights themselves
_FREE_FIELDS = {"num_heads", "num_layers", "embed_dims", "img_size", "patch_size", "num_classes", "pool"}


def _nearest(number: int, choices: range) -> int:
    return min(max(number, choices[0]), choices[-1])


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


def is_vector(name: str) -> bool:
    """Whether a canonical tensor is 1-D in the plain, unstacked ViT, or a position: it gets no weight decay."""
    return name.endswith(".bias") or "norm" in name or name.endswith(("cls_token", "pos_embed"))


def random_tensors(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Canonical tensors at a ViT's usual start values (timm's and DeiT's).

    Matrices, positions and class token: normal, std 0.02, truncated; biases 0; LayerNorm 1 and 0; the patch kernel
    uniform within 1 / sqrt(fan in).
    """
    tensors = {}
    for name, shape in shapes.items():
        tensor = torch.zeros(shape)
        if name == "patch_embed.weight":
            tensor.uniform_(-1, 1).mul_(1 / math.sqrt(math.prod(shape[1:])))
        elif name.endswith(".weight") and "norm" in name:
            tensor.fill_(1)
        elif not name.endswith(".bias"):
            nn.init.trunc_normal_(tensor, std=0.02)
        tensors[name] = tensor
    return tensors


def checked_map(option: str, entries: Sequence[int], spec: ViTSpec, count: int, what: str) -> list[int]:
    """An explicit choice of one entry (a row, a stage, ...) for each layer of a descendant.

    Args:
        option: the option's name, for messages.
        entries: the choice, one number a layer.
        spec: the descendant.
        count: how many entries there are to choose from.
        what: what an entry is, for messages: ``'row of G'``.

    Raises:
        LearngeneError: a wrong number of entries, or one that does not exist.
    """
    entries = list(entries)
    if len(entries) != spec.num_layers:
        raise LearngeneError(f"{option}={entries} has {len(entries)} entries; {spec} needs {spec.num_layers}")
    for entry in entries:
        if not (isinstance(entry, int) and 0 <= entry < count):
            raise LearngeneError(f"{option}={entries}: {entry!r} is not a {what}; expected 0 to {count - 1}")
    return entries


def derived_spec(method: str, given: str | ViTSpec | Mapping | None, derived: ViTSpec) -> ViTSpec:
    """The spec of a learngene whose size follows from its Aux-Net; a size that the caller gives must be this one.

    Raises:
        LearngeneError: another size was given.
    """
    if given is not None and str(given := type(derived).parse(given)) != str(derived):
        raise LearngeneError(f"the learngene {given} does not fit; with this Aux-Net a {method} learngene is {derived}")
    return derived


class Learngene(nn.Module):
    """A compact set of weights that expands to Vision Transformers of many sizes.

    A method subclasses this, registers with :func:`mmlearngene.learngenes.register`, creates its parameters under
    ``learngene`` (weights), ``maps`` (what expands them) and ``pos_embed``, and implements :meth:`_expand`.

    Args:
        learngene: the ViT that the learngene itself is.
        aux: the ViT that it is trained in, or was extracted from (the largest or reference size).
        **config: the method's own options as JSON values, kept so that a file can rebuild the learngene.

    Attributes:
        provenance: free JSON about where the weights come from (ancestry, dataset, epochs); saved with them.
    """

    method: ClassVar[str]
    spec_type: ClassVar[type] = ViTSpec  # of the networks that it expands to
    keeps_width: ClassVar[bool] = False  # whether a descendant keeps the Aux-Net's embed_dims, whatever its heads
    # smallest share of a ViT's parameters that initialisation accepts where the caller names none; methods that leave
    # whole layers random by design set it to 0
    min_inherited: ClassVar[float] = 0.9

    def __init__(self, learngene: ViTSpec, aux: ViTSpec, **config) -> None:
        super().__init__()
        self.learngene_spec = learngene
        self.aux_spec = aux
        self.config = config
        self.provenance: dict = {}
        self.classes: list[str] | None = None

    # ------------------------------------------------------------------ what a method implements

    @property
    def head_choices(self) -> range:
        """Numbers of heads that a descendant may have; the Aux-Net's alone where the method keeps the width."""
        return range(self.aux_spec.num_heads, self.aux_spec.num_heads + 1)

    @property
    def layer_choices(self) -> range | None:
        """Numbers of layers that a descendant may have; None for any."""
        return None

    def _expand(self, spec: ViTSpec, **options) -> ViTWeights:
        """The weights of a descendant at the Aux-Net's image, patch and classes."""
        raise NotImplementedError

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
            **options: the method's own, see its ``_expand``.

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
        aux = self.aux_spec
        inside = spec.replace(img_size=aux.img_size, patch_size=aux.patch_size, num_classes=aux.num_classes)
        device = next((p.device for p in self.parameters()), torch.device("cpu"))
        with torch.autocast(device.type, enabled=False):
            weights = self._expand(inside, **options).resample(spec)
        if head == "fresh" or spec.num_classes != aux.num_classes:
            for name in ("head.weight", "head.bias"):
                weights.tensors.pop(name, None)
        return weights

    def target(self, size: str | ViTSpec | None = None) -> ViTSpec:
        """The checked spec of a descendant; what a size text leaves open is the Aux-Net's.

        Raises:
            LearngeneError: out of range, with the range and the nearest valid size.
        """
        aux = self.aux_spec
        if size is None:
            spec = aux
        elif isinstance(size, ViTSpec):
            spec = size
        else:
            width = dict(embed_dims=aux.embed_dims) if self.keeps_width else {}
            parsed = ViTSpec.parse(size, **width)
            spec = aux.replace(num_heads=parsed.num_heads, num_layers=parsed.num_layers, **width)
        heads, layers = self.head_choices, self.layer_choices or range(spec.num_layers, spec.num_layers + 1)
        if not set(spec.heads) <= set(heads) or spec.num_layers not in layers:
            near_heads, near_layers = _nearest(max(spec.heads), heads), _nearest(spec.num_layers, layers)
            raise LearngeneError(
                f"this {self.method} learngene expands to {self.span}, not to {spec}; "
                f"the nearest size is h{near_heads}-l{near_layers}"
            )
        self._check_fields(spec, _FREE_FIELDS - {"embed_dims"} if self.keeps_width else _FREE_FIELDS)
        return spec

    def _check_fields(self, spec: ViTSpec, free: set[str]) -> None:
        aux = self.aux_spec.asdict()
        for name, value in spec.asdict().items():
            if name not in free and value != aux[name]:
                raise LearngeneError(
                    f"the descendant has {name}={value}, but the learngene's weights need {name}={aux[name]}"
                )

    def some_sizes(self) -> list[ViTSpec]:
        """A few of the sizes that this learngene expands to, spread over its range."""
        heads, depth = self.head_choices, self.aux_spec.num_layers
        layers = self.layer_choices or range(1, depth + 1)
        some_heads = sorted({heads[i] for i in spread(min(4, len(heads)), len(heads))})
        some_depths = sorted({max(1, depth // 2), max(1, depth * 3 // 4), depth} & set(layers))
        return [self.target(f"h{h}-l{d}") for h in some_heads for d in some_depths]

    @property
    def span(self) -> str:
        """The sizes that this learngene expands to, in words: ``'6 to 12 heads and any number of layers'``."""

        def words(choices: range, what: str) -> str:
            return f"{choices[0]} to {choices[-1]} {what}" if len(choices) > 1 else f"{choices[0]} {what}"

        layers = self.layer_choices
        depth = "any number of layers" if layers is None else words(layers, "layers")
        return f"{words(self.head_choices, 'heads')} and {depth}"

    @classmethod
    def expand_options(cls) -> list[str]:
        """Names of the options that :meth:`expand` takes for this method."""
        kinds = inspect.signature(cls._expand).parameters.values()
        return [p.name for p in kinds if p.kind is inspect.Parameter.KEYWORD_ONLY]

    def _check_options(self, options: Mapping) -> None:
        known = self.expand_options()
        for name in options:
            if name not in known:
                takes = ", ".join(known) or "none"
                raise LearngeneError(f"{self.method} has no expansion option {name!r}; it takes: {takes}")

    # ------------------------------------------------------------------ training and accounting

    def no_weight_decay(self) -> set[str]:
        """Parameters without weight decay: those that are 1-D in the unstacked network, and positions."""
        return {name for name, _ in self.named_parameters() if is_vector(name)}

    def stored_params(self) -> dict[str, int]:
        """Numbers of stored parameters: ``learngene``, ``maps``, ``positions`` and ``total``."""
        counts = dict(learngene=0, maps=0, positions=0)
        for name, parameter in self.named_parameters():
            group = "positions" if name.endswith("pos_embed") else name.split(".")[0]
            counts[group] += parameter.numel()
        return {**counts, "total": sum(counts.values())}

    # ------------------------------------------------------------------ files

    def save(self, path: str | Path) -> Path:
        """Write the learngene to one safetensors file, atomically. See :func:`mmlearngene.load` for the way back."""
        header = {
            "method": self.method,
            "config": self.config,
            "learngene_spec": self.learngene_spec.asdict(),
            "aux_spec": self.aux_spec.asdict(),
            "classes": self.classes,
            "provenance": self.provenance,
        }
        return files.write(path, self.state_dict(), header)


class StackedLearngene(Learngene):
    """A learngene that is a stack of whole layers as wide as its Aux-Net, and the tensors outside the layers.

    ``learngene.*`` are the canonical tensors of :attr:`learngene_spec`, positions among them.

    Args:
        aux: the Aux-Net (or ancestry).
        num_layers: layers in the stack.
        learngene: the learngene's size where the caller gives it; it follows from the other two and is checked.
        **config: the method's own options as JSON values.

    Raises:
        LearngeneError: another size was given.
    """

    def __init__(
        self, aux: ViTSpec, num_layers: int, learngene: str | ViTSpec | Mapping | None = None, **config
    ) -> None:
        own = derived_spec(self.method, learngene, aux.replace(num_layers=num_layers))
        super().__init__(own, aux, **config)
        self.learngene = TensorTree(random_tensors(own.shapes()))
