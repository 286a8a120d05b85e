"""What every learngene is: parameters with one differentiable ``expand``, and a file to keep them in."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from .. import files
from ..errors import LearngeneError, check_choice
from ..spec import WORDS, ViTSpec
from ..tensors import LAYER_TENSORS, decays, start_values
from ..typed import check_types
from ..weights import ViTWeights, spread
from . import methods

HEADS = ("auto", "inherit", "fresh")


# what follows from the images and classes of a descendant alone
_OF_IMAGES = ("img_size", "patch_size", "num_classes")
_CANONICAL = re.compile(r"^learngene\.(stages\.\d+\.)?")


def _resized(spec: ViTSpec, heads: Sequence[int], depths: Sequence[int]) -> str:
    """A size as text, of these heads of each layer and layers of each stage."""
    if spec.depths is None and len(set(heads)) == 1:
        return f"h{heads[0]}-l{depths[0]}"
    if depths == [len(layers) for layers in spec.stages]:
        return str(spec.replace(num_heads=tuple(heads)))
    return f"l{','.join(map(str, depths))}"


def unequal_layers(spec: ViTSpec) -> str | None:
    """In words, what makes a ViT's layers unequal; None if they are equal."""
    if spec.depths is not None:
        return f"stages, whose layers are not of one width ({spec})"
    return None if isinstance(spec.num_heads, int) else f"different numbers of heads in its layers ({spec})"


def _as_json(name: str, value: object) -> object:
    """The value of an option as a file will give it back: tuples are lists."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise LearngeneError(
            f"option {name}={value!r} cannot be kept in a file ({error}); expected numbers, text, lists or dicts"
        ) from error


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

    def copy_(self, weights: ViTWeights) -> None:
        """Set the parameters of which there is a tensor, those of layers stacked."""
        layers, own = weights.layers(), self.tensors()
        for name in weights.tensors.keys() & own.keys():
            of_layers = name in LAYER_TENSORS
            own[name].copy_(torch.stack([layer[name] for layer in layers]) if of_layers else weights.tensors[name])


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
    if given is not None and str(given := ViTSpec.parse(given)) != str(derived):
        raise LearngeneError(f"the learngene {given} does not fit; with this Aux-Net a {method} learngene is {derived}")
    return derived


class Learngene(nn.Module):
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

    method: ClassVar[str]
    keeps_width: ClassVar[bool] = False  # whether a descendant keeps the Aux-Net's embed_dims, whatever its heads
    equal_layers: ClassVar[bool] = False  # whether all layers of a descendant have equally many heads
    # smallest share of a ViT's parameters that initialisation accepts where the caller names none; methods that leave
    # whole layers random by design set it to 0
    min_inherited: ClassVar[float] = 0.9
    # options that a start from another learngene has unless the caller says otherwise, where that one knows them
    start_options: ClassVar[dict[str, object]] = {}

    def __new__(cls, *args, **kwargs) -> Learngene:
        self = super().__new__(cls)
        # from the call and not from what a constructor passes on: nobody can forget an option. Copies are made without
        # arguments and bring their own.
        called = inspect.signature(cls.__init__).bind_partial(self, *args, **kwargs)
        called.apply_defaults()
        self.config = {name: called.arguments[name] for name in cls.options() if name in called.arguments}
        return self

    def __init__(self, learngene: ViTSpec, aux: ViTSpec) -> None:
        super().__init__()
        self.check_treats(aux)
        self.learngene_spec = learngene
        self.aux_spec = aux
        self.config = {name: _as_json(name, value) for name, value in self.config.items()}
        self.provenance: dict = {}
        self.classes: list[str] | None = None

    @classmethod
    def options(cls) -> list[str]:
        """Names of the method's own options: the parameters of its constructor but the two sizes and ``**vit``."""
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # all after self
        return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD and p.name not in ("learngene", "aux")]

    # ------------------------------------------------------------------ what a method implements

    @classmethod
    def refuses(cls, spec: ViTSpec) -> str | None:
        """The feature of a ViT that the method cannot treat, and why, in words; None if it can treat all."""
        return None

    @classmethod
    def check_treats(cls, spec: ViTSpec) -> None:
        """Raise LearngeneError, naming the feature, if the method cannot treat a ViT like this."""
        if refused := cls.refuses(spec):
            raise LearngeneError(f"{cls.method} cannot treat a ViT with {refused}")

    def head_range(self, stage: int = 0) -> range:
        """Numbers of heads that a descendant's layers may have in a stage; the Aux-Net's alone by default."""
        heads = self.aux_spec.heads[self.aux_spec.stages[stage].start]
        return range(heads, heads + 1)

    def layer_range(self, stage: int = 0) -> range | None:
        """Numbers of layers that a descendant may have in a stage; None for any."""
        return None

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
    def check_starts(cls) -> None:
        """Raise LearngeneError if the method does not say how to start from a ViT's weights."""
        if cls.start_from is Learngene.start_from:
            others = (name for name, of in methods.LEARNGENES.items() if of.start_from is not Learngene.start_from)
            raise LearngeneError(
                f"a {cls.method} learngene does not start from a ViT's weights; those that do: "
                f"{', '.join(sorted(others))}"
            )

    # ------------------------------------------------------------------ expansion

    @property
    def head_choices(self) -> range:
        """Numbers of heads that a descendant may have, in any stage."""
        ranges = [self.head_range(stage) for stage in range(len(self.aux_spec.stages))]
        return range(min(r[0] for r in ranges), max(r[-1] for r in ranges) + 1)

    @property
    def layer_choices(self) -> range | None:
        """Numbers of layers that a descendant may have, in any stage; None for any."""
        ranges = [self.layer_range(stage) for stage in range(len(self.aux_spec.stages))]
        return None if None in ranges else range(min(r[0] for r in ranges), max(r[-1] for r in ranges) + 1)

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
        kinds = (p.device.type for p in self.parameters() if not p.is_meta)  # a learngene without storage expands, too
        with torch.autocast(next(kinds, "cpu"), enabled=False):
            weights = self._expand(inside, **options)
        # an expansion may say more of its spec than was asked for: maps that stay in the attention (PEG)
        weights = weights.resample(weights.spec.replace(**{name: getattr(spec, name) for name in _OF_IMAGES}))
        if head == "fresh" or spec.num_classes != aux.num_classes:
            for name in [name for name in weights.tensors if name.startswith("head")]:
                del weights.tensors[name]
        return weights

    def target(self, size: str | ViTSpec | None = None) -> ViTSpec:
        """The checked spec of a descendant; what a size text leaves open is the Aux-Net's.

        Raises:
            LearngeneError: out of range, with the range and the nearest valid size; or another feature than the
                learngene's weights are for, which is named.
        """
        aux = self.aux_spec
        spec = aux if size is None else size if isinstance(size, ViTSpec) else self._sized(size)
        if len(spec.stages) != len(aux.stages):
            raise LearngeneError(
                f"{spec} is a {spec.kind} of {len(spec.stages)} stages, and this {self.method} learngene expands to a "
                f"{aux.kind} of {len(aux.stages)}, as in {aux}"
            )
        near_heads, near_depths = list(spec.heads), [len(layers) for layers in spec.stages]
        for stage, layers in enumerate(spec.stages):
            heads, depths = self.head_range(stage), self.layer_range(stage)
            for layer in layers:
                near_heads[layer] = _nearest(spec.heads[layer], heads)
            near_depths[stage] = len(layers) if depths is None else _nearest(len(layers), depths)
        alike = self.equal_layers and unequal_layers(spec) is not None
        if alike:
            near_heads = [max(near_heads)] * len(near_heads)
        if near_heads != list(spec.heads) or near_depths != [len(layers) for layers in spec.stages]:
            raise LearngeneError(
                f"this {self.method} learngene expands to {self.span}{', all layers alike' * alike}, not to {spec}; "
                f"the nearest size is {_resized(spec, near_heads, near_depths)}"
            )
        self._check_features(spec)
        return spec

    def _sized(self, size: str) -> ViTSpec:
        """The Aux-Net at another size, given as text."""
        aux = self.aux_spec
        width = dict(embed_dims=aux.embed_dims) if self.keeps_width or aux.depths is not None else {}
        parsed = ViTSpec.parse(size, **width)
        if parsed.depths is not None and aux.depths is None:
            return parsed
        if aux.pool == "map" and self.keeps_width:  # its heads pool what the ancestry's do
            width["attn_pool_num_heads"] = aux.attn_pool_num_heads or (
                None if parsed.heads[0] == aux.heads[0] else aux.pool_heads
            )
        return aux.replace(num_heads=parsed.num_heads, num_layers=parsed.num_layers, depths=parsed.depths, **width)

    def _check_features(self, spec: ViTSpec) -> None:
        aux = self.aux_spec
        fixed = ["head_dim", "in_channels", *(["embed_dims"] if self.keeps_width else [])]
        pairs = {name: (getattr(spec, name), getattr(aux, name)) for name in fixed}
        # hidden widths are whole numbers, which a ratio may not give
        if spec.feedforward_channels != spec.replace(mlp_ratio=aux.mlp_ratio).feedforward_channels:
            pairs["mlp_ratio"] = spec.mlp_ratio, aux.mlp_ratio
        ours = aux.features()
        pairs |= {name: (value, ours[name]) for name, value in spec.features().items()}
        if self.keeps_width and spec.pool == "map":
            pairs["attn_pool_num_heads"] = spec.pool_heads, aux.pool_heads
        for name, (value, own) in pairs.items():
            if value != own:
                raise LearngeneError(
                    f"the descendant has {WORDS.get(name, name)}: {name}={value}, but the learngene's weights need "
                    f"{name}={own}"
                )

    def some_sizes(self) -> list[ViTSpec]:
        """A few of the sizes that this learngene expands to, spread over its range."""
        aux = self.aux_spec
        if aux.depths is not None:
            ranges = [self.head_range(stage) for stage in range(len(aux.stages))]
            heads = [aux.heads[layers.start] for layers in aux.stages]
            scaled = [[max(1, int(count * factor)) for count in heads] for factor in (0.5, 1, 2)]
            inside = [h for h in scaled if all(count in r for count, r in zip(h, ranges, strict=True))]
            return [self.target(aux.replace(num_heads=heads)) for heads in inside]
        # more heads than the Aux-Net's, which Cluster-Learngene repeats without end, have to be asked for
        heads = [count for count in self.head_choices if count <= max(aux.heads)] or self.head_choices
        depth = aux.num_layers
        layers = self.layer_choices or range(1, depth + 1)
        some_heads = sorted({heads[i] for i in spread(min(4, len(heads)), len(heads))})
        some_depths = sorted({max(1, depth // 2), max(1, depth * 3 // 4), depth} & set(layers))
        return [self.target(f"h{h}-l{d}") for h in some_heads for d in some_depths]

    @property
    def trained_sizes(self) -> list[str]:
        """The sizes that the provenance says were trained; empty where it says none."""
        trained = self.provenance.get("trained_sizes")
        return trained if isinstance(trained, list) else []

    @property
    def preprocessing(self) -> dict:
        """How its images were made ready, as the provenance says; empty where it does not tell ``mean`` and ``std``.

        See :data:`mmlearngene.preprocessing.NAMES`.
        """
        found = self.provenance.get("preprocessing")
        return found if isinstance(found, dict) and {"mean", "std"} <= found.keys() else {}

    def notes_on(self, spec: ViTSpec) -> list[str]:
        """What to say of a descendant's size, in one line: that it is none of those that were trained."""
        trained = self.trained_sizes
        if not trained or str(spec) in trained:
            return []
        near = min(trained, key=lambda size: abs(math.log(self.target(size).num_params / spec.num_params)))
        return [f"{spec} is none of the {len(trained)} sizes that were trained; the nearest of them is {near}"]

    def shares(self, spec: ViTSpec) -> dict[str, float]:
        """What the method can say beforehand of a size: name -> share from 0 to 1. Nothing by default."""
        return {}

    @property
    def span(self) -> str:
        """The sizes that this learngene expands to, in words: ``'6 to 12 heads and any number of layers'``."""

        def words(choices: range, what: str) -> str:
            return f"{choices[0]} to {choices[-1]} {what}" if len(choices) > 1 else f"{choices[0]} {what}"

        layers = self.layer_choices
        depth = "any number of layers" if layers is None else words(layers, "layers")
        stages = f" in each of {len(self.aux_spec.stages)} stages" if self.aux_spec.depths is not None else ""
        return f"{words(self.head_choices, 'heads')} and {depth}{stages}"

    @classmethod
    def expand_options(cls) -> dict[str, inspect.Parameter]:
        """The options that :meth:`expand` takes for this method: name -> parameter of its ``_expand``."""
        kinds = inspect.signature(cls._expand).parameters.values()
        return {p.name: p for p in kinds if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def _check_options(self, options: Mapping) -> None:
        known = self.expand_options()
        for name in options:
            if name not in known:
                takes = ", ".join(known) or "none"
                raise LearngeneError(f"{self.method} has no expansion option {name!r}; it takes: {takes}")
        check_types(type(self)._expand, options)

    # ------------------------------------------------------------------ training and accounting

    def no_weight_decay(self) -> set[str]:
        """Parameters without weight decay: what is 1-D in the unstacked network, tokens, positions and tables."""
        return {name for name, _ in self.named_parameters() if not decays(_CANONICAL.sub("", name))}

    def stored_params(self) -> dict[str, int]:
        """Numbers of stored parameters: ``learngene``, ``maps``, ``positions`` and ``total``."""
        counts = dict(learngene=0, maps=0, positions=0)
        for name, parameter in self.named_parameters():
            group = "positions" if name.endswith("pos_embed") else name.split(".")[0]
            counts[group if group in counts else "maps"] += parameter.numel()
        return {**counts, "total": sum(counts.values())}

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

    # ------------------------------------------------------------------ files

    def save(self, path: str | Path) -> Path:
        """Write the learngene to one safetensors file, atomically. See :func:`mmlearngene.load` for the way back."""
        header = {
            "method": self.method,
            "config": self.config,
            "learngene_spec": self.learngene_spec.asdict(),
            "aux_spec": self.aux_spec.asdict(),
            "classes": self.classes,
            "provenance": {**self.provenance, **methods.origin(type(self))},
        }
        return files.write(path, self.state_dict(), header)


class StackedLearngene(Learngene):
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

    def __init__(self, aux: ViTSpec, num_layers: int, learngene: str | ViTSpec | Mapping | None = None) -> None:
        self.check_treats(aux)
        own = derived_spec(self.method, learngene, aux.replace(num_layers=num_layers))
        super().__init__(own, aux)
        self.learngene = TensorTree(start_values(own, own.shapes()))

    @classmethod
    def refuses(cls, spec: ViTSpec) -> str | None:
        """Stages, whose layers are not equal; and layers with different heads."""
        return unequal_layers(spec)
