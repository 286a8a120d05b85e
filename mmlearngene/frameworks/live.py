"""Find the ViT in a live model, read its spec, and make sure that the spec says everything about it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from ..errors import LearngeneError
from ..vit.spec import ViTSpec
from ..vit.weights import ViTWeights
from .base import PROBE, Layout, joined
from .modules import difference, odd_parameter, weightless
from .slots import Slot
from .unknown import unknown_feature


@dataclass
class Found:
    """A ViT inside a model.

    Attributes:
        layout: how its class names its tensors.
        spec: its spec. Where the model gives tokens (``gives_tokens``), pooling and final norm are only what they are
            taken for.
        module: the ViT.
        path: its name in the model, '' for the model itself.
        around: name of the module around it, where the classifier is.
        gives_tokens: whether the model pools nothing: a backbone for dense tasks, or one without a classifier.
        heads: the classifier's tensors, canonical name -> key in the module around the ViT; none where it is in the
            ViT, is not there or is left aside.
        notes: what was left aside.
        lacks_head: in words, why the classifier around the ViT is left aside; empty where it is not.
    """

    layout: Layout
    spec: ViTSpec
    module: nn.Module
    path: str
    around: str
    gives_tokens: bool
    heads: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lacks_head: str = ""

    def entries(self, weights: ViTWeights) -> Iterator[tuple[Slot, Tensor]]:
        """Weights as the model's tensors, each with its slot, see :meth:`Layout.entries`."""
        return self.layout.entries(weights, self.path, self.around, self.heads.items())


def find(model: nn.Module, layouts: Iterable[Layout], path: str | None = None) -> Found:
    """The ViT in a model: the outermost module of a known class.

    Args:
        model: the model.
        layouts: the tables of known classes.
        path: the ViT's name in the model, or that of a part that holds it, where the model holds several.

    Raises:
        LearngeneError: there is none or more than one, or it computes what no spec can say; the message names what.
    """
    by_class: dict[str, list[Layout]] = {}
    for layout in layouts:
        by_class.setdefault(layout.cls, []).append(layout)
    places: dict[str, tuple[nn.Module, type]] = {}
    for name, module in model.named_modules():
        if any(name.startswith(f"{outer}.") or not outer for outer in places):
            continue
        for cls in type(module).__mro__:
            if f"{cls.__module__}.{cls.__qualname__}" in by_class:
                places[name] = (module, cls)
                break
    inside = [name for name in places if path is None or f"{name}.".startswith(f"{path}.")]
    if path is not None and places and not inside:
        raise LearngeneError(f"{type(model).__name__} has no ViT at path={path!r}; expected one of {_paths(places)}")
    if len(inside) > 1:
        raise LearngeneError(
            f"{type(model).__name__} holds {len(inside)} ViTs: {_paths(inside)}; say which, as in path={inside[0]!r}"
        )
    if inside:
        module, cls = places[inside[0]]
        return _read(model, module, inside[0], by_class[f"{cls.__module__}.{cls.__qualname__}"], cls)
    backbone = getattr(model, "backbone", model)
    known = sorted({f"{name.partition('.')[0]}.{name.rpartition('.')[2]}" for name in by_class})
    nearest = ", ".join(_nearest(type(backbone).__name__, known))
    raise LearngeneError(
        f"{type(backbone).__name__} is not a ViT that is known here: it has {unknown_feature(backbone)}; expected one "
        f"of the {len(known)} classes of docs/any_vit.md ({nearest}, ...) or a model that holds one; "
        "the nearest is backbone=dict(type='mmpretrain.VisionTransformer', ...)"
    )


def _nearest(name: str, known: Iterable[str]) -> list[str]:
    """The names that are most like one, without their framework."""
    close = [difflib.SequenceMatcher(None, name.lower(), each.rpartition(".")[2].lower()).ratio() for each in known]
    return [each for _, each in sorted(zip(close, known, strict=True), reverse=True)[:5]]


def _paths(names: Iterable[str]) -> str:
    return ", ".join(name or "the model itself" for name in names)


def _read(model: nn.Module, module: nn.Module, path: str, candidates: list[Layout], cls: type) -> Found:
    around_path = path.rpartition(".")[0]
    around = model.get_submodule(around_path) if path else None
    state = dict(module.named_parameters())
    if odd := odd_parameter(module):
        raise LearngeneError(f"{joined(path) or type(module).__name__}: {odd}")
    tried = [layout for layout in candidates if layout.recognises(state)] or candidates[:1]
    errors = []
    for layout in tried:
        try:
            found = _read_as(layout, module, around, state)
        except (AttributeError, IndexError, TypeError) as error:  # a module is not what the class's own modules are
            errors.append(LearngeneError(f"{type(module).__name__} is not a plain {cls.__name__}: {error}"))
        except LearngeneError as error:
            errors.append(error)
        else:
            found.path, found.around = path, around_path
            if type(module) is not cls and not type(module).__module__.startswith("mmlearngene."):
                found.notes.append(f"{type(module).__name__} is taken for the {cls.__name__} that it extends")
            return found
    # the nearest table is one whose modules are of the right classes
    nearest = min(reversed(errors), key=lambda error: re.search(r" is \w+ instead of ", str(error)) is not None)
    raise LearngeneError(f"{joined(path) or type(module).__name__}: {nearest}") from nearest


def _read_as(layout: Layout, module: nn.Module, around: nn.Module | None, state: Mapping[str, Tensor]) -> Found:
    """A ViT as one class of a framework.

    Raises:
        LearngeneError: it is not, or it computes what no spec can say.
    """
    _check_patches(layout, module)
    lacks_head = layout.odd_head(around, module) if around is not None and layout.odd_head else None
    holder = None if lacks_head else around
    fields = layout.read(module, holder)
    if fields.get("init_values") == 0:  # of a LayerScale that is there all the same
        fields["init_values"] = 1.0
    heads = _head_keys(layout, holder)
    spec = layout.infer(state, _head(heads, holder), **fields)
    rebuilt = weightless(lambda: layout.make(spec), buffers=False) if heads else None
    if heads and not isinstance(around, type(rebuilt)):
        # somebody's own model, which may do anything with what is called a classifier
        lacks_head, holder, heads = f"{type(around).__name__} is no {type(rebuilt).__name__}", None, {}
        rebuilt = None
        fields = layout.read(module, None)
        spec = layout.infer(state, {}, **fields)
    if lacking := layout.lacks(spec):
        raise LearngeneError(f"{layout.class_name} with {lacking} is not known here")
    if spec.mlp != "mlp" and fields["act"] != "silu":
        raise LearngeneError(
            f"a gated MLP with the activation {fields['act']!r} is not known here; expected 'silu' (SwiGLU)"
        )
    norm = module.get_submodule(layout.places("norm1.weight", spec, 0)[0][0].removesuffix(".weight"))
    if spec.norm == "rmsnorm" and "LayerNorm" in type(norm).__name__:
        raise LearngeneError("LayerNorm without bias is not known here; expected one with a bias, or RMSNorm")
    if rebuilt is None:
        rebuilt = weightless(lambda: layout.make(spec), buffers=False)
    if differs := difference(module, layout.vit_of(rebuilt), layout.ignore, layout.is_aside):
        raise LearngeneError(f"no {layout.class_name} of a spec: {differs}")
    layout.take(_meta(state), _meta(_head(heads, holder)), spec)  # nothing missing, nothing left over
    gives_tokens = "pool" in fields and fields["pool"] is None
    found = Found(layout, spec, module, "", "", gives_tokens, heads, lacks_head=lacks_head or "")
    if lacks_head:
        found.notes.append(f"the classifier is left aside: {lacks_head}")
    return found


def _check_patches(layout: Layout, module: nn.Module) -> None:
    """Patches must lie side by side, whatever the class could do."""
    key, _ = layout.places("patch_embed.weight", PROBE)[0]
    conv = module.get_submodule(key.removesuffix(".weight"))
    for name, value, usual in (
        ("stride", conv.stride, tuple(conv.kernel_size)),
        ("padding", conv.padding, (0, 0)),
        ("dilation", conv.dilation, (1, 1)),
    ):
        if value not in (usual, "valid"):
            raise LearngeneError(f"patch {name} {value} is not known here; expected {usual}")


def _meta(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to("meta") for name, tensor in state.items()}


def _get(module: nn.Module, key: str) -> Tensor | None:
    parts = key.split(".")
    for part in parts:
        module = getattr(module, part, None)
        if module is None:
            return None
    return module if isinstance(module, Tensor) else None


def _head_keys(layout: Layout, around: nn.Module | None) -> dict[str, str]:
    """The classifier's tensors in the module around a ViT: canonical name -> key."""
    if around is None:
        return {}
    return {name: key for key, name in layout.head_keys().items() if _get(around, key) is not None}


def _head(heads: Mapping[str, str], around: nn.Module | None) -> dict[str, Tensor]:
    return {name: _get(around, key) for name, key in heads.items()}


def weights_of(found: Found, model: nn.Module) -> ViTWeights:
    """The canonical weights of a ViT that :func:`find` found."""
    around = model.get_submodule(found.around) if found.path else None
    return found.layout.weights(found.module, _head(found.heads, around), found.spec)


def left_aside(found: Found, model: nn.Module) -> list[str]:
    """Names of the parts of a model, with parameters, that belong neither to its ViT nor to its classifier."""
    names = (name for name, _ in model.named_parameters())
    path = f"{found.path}." if found.path else ""
    return found.layout.beside(names, path, {joined(found.around, key) for key in found.heads.values()})
