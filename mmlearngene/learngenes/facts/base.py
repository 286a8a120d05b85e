"""What a learngene is without its tensors: its two ViTs, its options, and the sizes that it expands to."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from ...errors import LearngeneError
from ...io.gene import column
from ...utils.typed import check_types
from ...vit.spec import WORDS, ViTSpec
from ...vit.tensors import check_table, spread

# the fields of a ViT that follow from its images and classes
OF_IMAGES = ("img_size", "patch_size", "num_classes")


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


def counted(shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Numbers of parameters in tensors of these names and shapes: ``learngene``, ``maps``, ``positions``, ``total``."""
    counts = dict(learngene=0, maps=0, positions=0)
    for name, shape in shapes.items():
        group = "positions" if name.endswith("pos_embed") else name.split(".")[0]
        counts[group if group in counts else "maps"] += math.prod(shape)
    return {**counts, "total": sum(counts.values())}


def below(prefix: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Those of the shapes whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}


@lru_cache(maxsize=256)  # a training step asks
def keyword_only(function: Callable) -> Mapping[str, inspect.Parameter]:
    """The parameters of a function that are given by name alone."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


class Facts:
    """What a learngene is without its tensors.

    Every :class:`~mmlearngene.Learngene` has these facts. A method of this package keeps them apart from its tensors:
    a file is then described, and sizes are planned, without torch, see :func:`mmlearngene.learngenes.facts.describe`.

    Args:
        learngene: the ViT that the learngene itself is.
        aux: the ViT that it is trained in, or was extracted from (the largest or reference size).

    Attributes:
        config: the options of the constructor as JSON values, defaults included; saved with the weights. Where a
            constructor chooses for an option that was left open, it writes its choice here.
        provenance: free JSON about where the weights come from (ancestry, dataset, epochs); saved with them.
        classes: names of the classes, where they are known.
        source: the file of its tensors, where there are no tensors beside it.

    Raises:
        LearngeneError: the ViT has a feature that the method's mathematics does not allow, or an option is no JSON
            value.
    """

    method: ClassVar[str]
    keeps_width: ClassVar[bool] = False  # whether a descendant keeps the Aux-Net's embed_dims, whatever its heads
    equal_layers: ClassVar[bool] = False  # whether all layers of a descendant have equally many heads

    def __new__(cls, *args, **kwargs) -> Facts:
        self = super().__new__(cls)
        # from the call and not from what a constructor passes on: nobody can forget an option. Copies are made without
        # arguments and bring their own.
        called = inspect.signature(cls.__init__).bind_partial(self, *args, **kwargs)
        called.apply_defaults()
        self.config = {name: called.arguments[name] for name in cls.options() if name in called.arguments}
        return self

    def __init__(self, learngene: ViTSpec, aux: ViTSpec) -> None:
        self.check_treats(aux)
        self.learngene_spec = learngene
        self.aux_spec = aux
        self.config = {name: _as_json(name, value) for name, value in self.config.items()}
        self.provenance: dict = {}
        self.classes: list[str] | None = None
        self.source: Path | None = None

    @classmethod
    def options(cls) -> list[str]:
        """Names of the method's own options: the parameters of its constructor but the two sizes and ``**vit``."""
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # all after self
        return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD and p.name not in ("learngene", "aux")]

    # ------------------------------------------------------------------ what a method says

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

    def check_expansion(self, spec: ViTSpec, **options) -> None:
        """Refuse a size or an option that the ranges allow and the method's expansion does not.

        A method of this package whose expansion has options names them here, keyword-only and with defaults.
        """

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors of the learngene: name in its file -> shape."""
        raise NotImplementedError

    def column(self, name: str, index: int) -> list[float] | None:
        """The numbers of a tensor at an index of its last axis; None where there are no tensors."""
        return None if self.source is None else column(self.source, name, index)

    # ------------------------------------------------------------------ sizes

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

        See :data:`mmlearngene.io.preprocessing.NAMES`.
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

    def check_size(self, spec: ViTSpec) -> None:
        """Refuse a size of :meth:`target` that the learngene, for a reason of its own, does not expand to.

        Raises:
            LearngeneError: it does not.
        """
        self.check_expansion(self.inside(spec))
        if any(name.endswith("bias_table") for name in self.tensor_shapes()):
            check_table(self.aux_spec, spec)

    def inside(self, spec: ViTSpec) -> ViTSpec:
        """A descendant at the Aux-Net's image, patch and classes."""
        return spec.replace(**{name: getattr(self.aux_spec, name) for name in OF_IMAGES})

    def stored_params(self) -> dict[str, int]:
        """Numbers of stored parameters: ``learngene``, ``maps``, ``positions`` and ``total``."""
        return counted(self.tensor_shapes())

    # ------------------------------------------------------------------ options of the expansion

    @classmethod
    def expand_options(cls) -> Mapping[str, inspect.Parameter]:
        """The options of the expansion: name -> parameter."""
        return keyword_only(cls.check_expansion)

    def _check_options(self, options: Mapping) -> None:
        known = self.expand_options()
        for name in options:
            if name not in known:
                takes = ", ".join(known) or "none"
                raise LearngeneError(f"{self.method} has no expansion option {name!r}; it takes: {takes}")
        check_types(type(self).check_expansion, options)
