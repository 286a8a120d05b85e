"""The rules of a layout: how one class of a framework names, holds and builds a Vision Transformer.

A framework is a table of canonical tensors and their keys, see :class:`Layout`. Bound to a spec, at a place in a model,
it is a list of slots, see :meth:`Layout.bind`: reading, writing and reports are joins over that list. Nothing is
guessed: what no tensor shows is read from the live model, and a model is accepted only if the class, built anew from
the spec that was read, is the same model module by module.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor, nn

from ..errors import LearngeneError, NotShown
from ..io.checkpoints import check_values
from ..vit.spec import WORDS, ViTSpec
from ..vit.tensors import LAYER_TENSORS, TABLE, named_shapes, row_of
from ..vit.weights import ViTWeights
from .slots import Key, Slot

# what a layout says of a feature that it can have in any form
ANY = object()
HEAD_TENSORS = ("head.weight", "head.bias", "head_dist.weight", "head_dist.bias")
# the fields of a spec that no tensor shows; a bare state dict needs them given
UNSEEN = ("num_heads", "norm_eps", "act", "pool", "post_norm", "rope")
_BUFFERS = r"(.*\.)?(relative_position_index|attn_mask|freqs_cos|freqs_sin|inv_freq|position_ids)"
_PADDING = ("mmpretrain", "mmseg")  # whose patch embeddings pad images to whole patches
_AXES = {row.name: len(row.groups) for row in TABLE}  # in a framework
# whether a ViT has a feature follows from one of its tensors
_SHOWN = {
    "patch_bias": "patch_embed.bias",
    "patch_norm": "patch_norm.weight",
    "class_token": "cls_token",
    "dist_token": "dist_token",
    "pre_norm": "norm_pre.weight",
    "qk_norm": "q_norm.weight",
    "scale_attn_norm": "attn_norm.weight",
    "scale_mlp_norm": "mlp_norm.weight",
    "proj_bias": "proj.bias",
    "mlp_bias": "fc2.bias",
    "rel_pos_bias": "bias_table",
}


Keys = str | Key | tuple  # a tuple of keys shares the tensor along its first axis


@dataclass(frozen=True, eq=False)
class Layout:
    """How one class of a framework names, holds and builds a ViT.

    Attributes:
        framework: ``timm``, ``hf``, ``torchvision``, ``mmpretrain`` or ``mmseg``.
        cls: qualified name of the class.
        keys: canonical module or tensor -> its key; relative to the class's module. The final norm may have one for
            each pooling order, under ``norm@avg_norm``, say.
        holds: feature -> the values that the class can have; a feature that is not named is the plain ViT's.
        cannot: what is not possible together, in words.
        make: builds the complete model (classifier included where there are classes) of a spec.
        read: what no tensor shows, from a live module and the module around it: fields of the spec. A pool of None
            means that the model gives tokens and leaves pooling to others.
        inside: where the ViT is in a complete model: its attribute, '' where it is the model itself.
        odd_head: from the module around a ViT and the ViT, in words why its classifier is none that a spec can say (one
            linear layer behind what is pooled); None where it is one.
        heads: keys of the classifier in the module around the ViT, several where it may have several names; empty
            where it is in the ViT itself, among ``keys``.
        dead: patterns of the class's parameters that it never uses at inference.
        extra: patterns of parameters that some models of the class have beside a ViT's (norms of feature maps).
        spare_positions: leading rows of the positions that the spec does not have.
        norms_pooled_alone: whether the tokens that it gives have no final norm, which acts on what is pooled (CLIP).
        kwargs: timm alone: arguments that make a spec's model of the class; they may not say all that ``make`` does.
        ignore: attributes that do not decide what a module computes, beside those that never do.
    """

    framework: str
    cls: str
    keys: Mapping[str, Keys]
    holds: Mapping[str, object]
    make: Callable[[ViTSpec], nn.Module]
    read: Callable[[nn.Module, nn.Module | None], dict]
    inside: str = ""
    odd_head: Callable[[nn.Module, nn.Module], str | None] | None = None
    heads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dead: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    spare_positions: Callable[[ViTSpec], int] = lambda spec: 0
    cannot: Callable[[ViTSpec], str | None] = lambda spec: None
    norms_pooled_alone: bool = False
    kwargs: Callable[[ViTSpec], dict] | None = None
    ignore: frozenset[str] = frozenset()

    # ------------------------------------------------------------------ names

    @property
    def class_name(self) -> str:
        """The class in words: ``timm's VisionTransformer``."""
        words = {"hf": "Hugging Face's", "mmseg": "mmsegmentation's"}
        return f"{words.get(self.framework, self.framework + chr(39) + 's')} {self.cls.rpartition('.')[2]}"

    def lacks(self, spec: ViTSpec) -> str | None:
        """The first feature of ``spec`` that this class cannot have, in words with its value; None if it can all."""
        plain = ViTSpec(1, 1).features()
        found = {**spec.features(), "mlp": spec.mlp, "is_ordinary": spec.is_ordinary, "kind": spec.kind}
        for name, value in found.items():
            allowed = self.holds.get(name, {"is_ordinary": (True,), "kind": ("ViT",)}.get(name, (plain.get(name),)))
            if allowed is ANY or value in allowed:
                continue
            if name == "is_ordinary":
                return "heads that are together not as wide as the residual stream"
            return f"{WORDS.get(name, name)} = {value}"
        if spec.leaves_pixels_out and self.framework in _PADDING:
            return f"images of {spec.img_size} that patches of {spec.patch_size} do not divide, which it pads"
        return self.cannot(spec)

    def places(self, name: str, spec: ViTSpec, layer: int | None = None) -> list[tuple[str, Key]]:
        """Where a canonical tensor is: (key in the ViT's module, its :class:`Key`), in order of the first axis.

        Empty where this class has no such tensor.
        """
        entry = self._entry(name, spec.pool)
        if entry is None:
            return []
        entries = entry if isinstance(entry, tuple) else (entry,)
        if name == "qkv.bias" and spec.qkv_bias == "qv" and len(entries) == 3:
            entries = (entries[0], entries[2])
        found = []
        for part in entries:
            part = Key(part) if isinstance(part, str) else part
            found.append((self._key(part.name, name, spec, layer), part))
        return found

    def _entry(self, name: str, pool: str) -> Keys | None:
        """The table's entry for a tensor: for it alone, or for its module with the kind of tensor appended."""
        canonical = re.sub(r"^downsample\d+", "downsample", name)
        if canonical in self.keys:
            return self.keys[canonical]
        module, _, kind = canonical.rpartition(".")
        entry = self.keys.get(f"{module}@{pool}", self.keys.get(module))
        if entry is None or not module:
            return None

        def full(part: str | Key) -> Key:
            part = Key(part) if isinstance(part, str) else part
            return Key(f"{part.name}.{kind}", part.lead, part.order, part.share, part.stacked)

        return tuple(full(part) for part in entry) if isinstance(entry, tuple) else full(entry)

    @staticmethod
    def _key(template: str, name: str, spec: ViTSpec, layer: int | None) -> str:
        if layer is None:
            number = re.match(r"downsample(\d+)", name)
            stage = int(number[1]) if number else 0
            return template.format(stage=stage, next=stage + 1)
        stage = spec.stage(layer)
        return template.format(layer, stage=stage, block=layer - spec.stages[stage].start)

    def roots(self) -> set[str]:
        """The first part of each key: names of the modules and parameters of the ViT that hold canonical tensors."""
        entries = (entry if isinstance(entry, tuple) else (entry,) for entry in self.keys.values())
        names = (part.name if isinstance(part, Key) else part for entry in entries for part in entry if part)
        return {name.partition(".")[0] for name in names}

    def head_places(self, name: str) -> list[str]:
        """Keys that a classifier's tensor may have in the module around the ViT; empty where it is in the ViT."""
        module, _, kind = name.rpartition(".")
        return [f"{key}.{kind}" for key in self.heads.get(module, ())]

    def head_keys(self, around: str = "") -> dict[str, str]:
        """Every key that a tensor of the classifier may have around the ViT -> its canonical name."""
        return {joined(around, key): name for name in HEAD_TENSORS for key in self.head_places(name)}

    def bind(
        self, spec: ViTSpec, path: str | None = None, around: str = "", heads: Iterable[tuple[str, str]] = ()
    ) -> tuple[Slot, ...]:
        """The slots of a ViT of ``spec``, in the order of the tensor table; made once for each spec and place.

        Args:
            spec: the ViT.
            path: the ViT's name in the model; that in a complete model of this class when None.
            around: name of the module around it, which has the classifier.
            heads: (canonical name, key in the module around the ViT) of a classifier's tensors, where they are not the
                first of their possible keys.
        """
        return _bound(self, spec, self.inside if path is None else path, around, tuple(heads))

    # ------------------------------------------------------------------ writing

    def state_dict(self, weights: ViTWeights, path: str | None = None) -> dict[str, Tensor]:
        """The weights as the state dict of this framework's complete model, classifier head included.

        Tensors are views of the canonical ones wherever the framework's are, so gradients flow and nothing is copied.

        Args:
            weights: canonical weights.
            path: the ViT's name in the model, where it is not that in a complete model.

        Raises:
            LearngeneError: the class has no place for a tensor.
        """
        return {slot.key: tensor for slot, tensor in self.entries(weights, path)}

    def state_dict_of(self, made: nn.Module, weights: ViTWeights) -> dict[str, Tensor]:
        """:meth:`state_dict` under the names of a model that ``make`` made, which may be the ViT alone."""
        return self.state_dict(weights, self.path_in(made))

    def entries(self, weights: ViTWeights, *place) -> Iterator[tuple[Slot, Tensor]]:
        """The tensors of a model, each with its slot; of layers that stand in one tensor, with the last layer's.

        Tensors that the weights do not give stay out.

        Args:
            weights: canonical weights.
            *place: where the ViT is in the model, see :meth:`bind`.

        Raises:
            LearngeneError: the class has no place for a tensor.
        """
        stem, layers, unplaced = weights.stem(), weights.layers(), dict.fromkeys(weights.tensors)
        for slot in self.bind(weights.spec, *place):
            tensor = (stem if slot.layer is None else layers[slot.layer]).get(slot.name)
            if tensor is None or not slot.key:
                continue
            unplaced.pop(slot.name, None)
            if slot.entry.stacked is None:
                yield slot, slot.write(tensor)
            elif slot.layer == len(layers) - 1 and all(slot.name in tensors for tensors in layers):
                yield slot, torch.stack([tensors[slot.name] for tensors in layers], slot.entry.stacked)
        for name in unplaced:
            if name not in LAYER_TENSORS or any(name in tensors for tensors in layers):
                raise LearngeneError(f"{self.class_name} has no place for {name!r}")

    # ------------------------------------------------------------------ reading

    def from_state_dict(self, state: Mapping[str, Tensor], **fields) -> ViTWeights:
        """Read the state dict of a complete model or of its ViT alone.

        Args:
            state: the framework's names -> tensors.
            **fields: the fields of the spec that no tensor shows (:data:`UNSEEN`), or that override what they show.

        Raises:
            NotShown: a field is not known.
            LearngeneError: tensors are missing, left over or of another shape.
        """
        vit, head = self.split(state)
        spec = self.infer(vit, head, **fields)
        weights = self.take(vit, head, spec)
        unseen = (*UNSEEN, "img_size", "norm")
        if missing := [name for name in unseen if fields.get(name) is None and not self.shows(name, spec)]:
            raise NotShown(
                f"the tensors of {spec} do not show {', '.join(missing)}; name a model that is like it (like=..., "
                "--like ... with a timm name, an OpenMMLab config or a Hugging Face folder), or give each: "
                f"{', '.join(f'{name}={_example(name, spec)}' for name in missing)}"
            )
        return weights

    @staticmethod
    def shows(name: str, spec: ViTSpec) -> bool:
        """Whether the tensors show a field of :data:`UNSEEN`, the image's size or the kind of norm, after all."""
        if name == "norm":  # one without biases may be either
            return spec.norm == "layernorm"
        if name == "img_size":  # by the number of positions, or by the offsets of a table of relative ones
            return spec.pos_embed == "learn" or spec.rel_pos_bias and spec.depths is None
        if name == "pool":
            return spec.pool in ("avg_norm", "map") or not spec.num_prefix_tokens
        if name == "act":
            return spec.mlp != "mlp"
        if name == "num_heads":
            return spec.rel_pos_bias
        return name == "rope" and spec.rope == "mixed"

    def split(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The ViT's own tensors of a state dict, wherever in a model it is, and its classifier's by canonical name."""
        path, around = self.where(state)
        head = {name: state[key] for key, name in self.head_keys(around).items() if key in state}
        return {name.removeprefix(path): tensor for name, tensor in state.items() if name.startswith(path)}, head

    def where(self, state: Mapping[str, Tensor]) -> tuple[str, str]:
        """What the names of the ViT's tensors start with in a state dict, and the name of the module around it."""
        path = min(self.all_places(state), key=len, default="")
        return path, path.rstrip(".").rpartition(".")[0]

    def all_places(self, state: Iterable[str]) -> list[str]:
        """What the names of each ViT's tensors start with, of all that there are."""
        key, _ = self.places("patch_embed.weight", PROBE)[0]
        return [name.removesuffix(key) for name in state if name == key or name.endswith(f".{key}")]

    def beside(self, names: Iterable[str], path: str, heads: Container[str]) -> list[str]:
        """Names of the parts of a model that belong neither to its ViT nor to its classifier.

        Args:
            names: of all its tensors.
            path: what the names of the ViT's tensors start with, see :meth:`where`.
            heads: the names of the classifier's tensors.
        """
        names = list(names)
        outside = [name for name in names if not name.startswith(path) and name not in heads]
        inside = [name.removeprefix(path) for name in names if name.startswith(path)]
        extra = [name for name in inside if any(re.fullmatch(pattern, name) for pattern in self.extra)]
        return list(dict.fromkeys(name.partition(".")[0] for name in (*outside, *extra)))

    def recognises(self, state: Mapping[str, Tensor]) -> bool:
        """Whether a state dict has the patch embedding and layers under this layout's names."""
        vit, _ = self.split(state)
        names = [("patch_embed.weight", None), *((f"{name}.weight", 0) for name in ("fc2", "fc1", "proj", "qkv"))]
        return all(
            places and all(key in vit for key, _ in places)
            for places in (self.places(name, PROBE, layer) for name, layer in names)
        )

    def infer(self, vit: Mapping[str, Tensor], head: Mapping[str, Tensor], **fields) -> ViTSpec:
        """The spec from names and shapes of tensors; ``fields`` add what these do not show, or override it.

        Raises:
            LearngeneError: the state dict has no patch embedding and layers under this layout's names.
        """
        depths = self._depths(vit)
        staged = "{stage}" in str(self.keys["proj"])
        probe = ViTSpec(1, max(1, sum(depths)), pool="cls", class_token=True)
        if staged:
            stages = depths or [1]
            probe = ViTSpec(
                [1] * len(stages), sum(stages), depths=stages, embed_dims=64, window_size=7, patch_size=4,
                pos_embed="none", pool="norm_avg",
            )  # fmt: skip

        def shape(name: str, layer: int | None = None, **features) -> tuple[int, ...] | None:
            places = self.places(name, probe.replace(**features) if features else probe, layer)
            if not places or any(key not in vit for key, _ in places):
                return None
            for key, part in places:
                axes = part.lead + _AXES[name] + (part.stacked is not None)
                if vit[key].ndim != axes or not vit[key].numel() and name != "reg_tokens":
                    raise LearngeneError(f"{key} is {tuple(vit[key].shape)}; expected {axes} axes, none of length 0")
            shapes = [tuple(vit[key].shape[part.lead :]) for key, part in places]
            return (sum(s[0] for s in shapes), *shapes[0][1:])

        patch = shape("patch_embed.weight")
        needed = [("patch_embed.weight", None), *((f"{name}.weight", 0) for name in ("fc1", "fc2", "proj", "qkv"))]
        if not depths or (missing := [(name, layer) for name, layer in needed if shape(name, layer) is None]):
            name, layer = missing[0] if depths else ("fc2.weight", 0)
            expected = self.places(name, probe, layer)[0][0]
            raise LearngeneError(
                f"this is not a ViT in the layout of {self.class_name}: expected {expected!r}; "
                f"it starts with {some(vit)}"
            )
        if len(patch) != 4 or patch[2] != patch[3]:
            raise LearngeneError(f"patches of {patch[2:]} are not square; expected a square patch size")
        width, hidden = patch[0], shape("fc2.weight", 0)[1]
        shown = {name: shape(tensor, 0) is not None for name, tensor in _SHOWN.items()}
        shown["class_token"] = fields.get("class_token", shown["class_token"])
        found = dict(
            shown,
            num_layers=sum(depths),
            depths=tuple(depths) if staged else None,
            embed_dims=width,
            mlp_ratio=hidden / width,
            patch_size=patch[-1],
            in_channels=patch[1],
            reg_tokens=(shape("reg_tokens") or (0,))[0],
            norm="layernorm" if shape("norm1.bias", 0) else "rmsnorm",
            qkv_bias=self._qkv_bias(shape),
            pos_embed="learn" if shape("pos_embed") else "none",
            mlp=self._mlp(shape, hidden),
            init_values=1.0 if shape("ls1.gamma", 0) else None,
            learngene_heads=(shape("logits.0.weight", 0) or (0, 0))[1],
        )
        if shape("rope_freqs", 0):
            found["rope"] = "mixed"
        classes = head.get("head.weight")
        classes = classes.shape if classes is not None else shape("head.weight")
        found["num_classes"] = classes[0] if classes else 0
        found |= self._pooling(shape, found, fields)
        found |= {name: value for name, value in fields.items() if value is not None}
        found |= self._heads(shape, found, depths)
        found |= self._positions(shape, found)
        return ViTSpec(**found)

    def _depths(self, vit: Mapping[str, Tensor]) -> list[int]:
        """The layers of each stage."""
        template = self._entry("fc2.weight", "cls")
        pattern = re.escape(template.name if isinstance(template, Key) else template)
        for placeholder, group in ((r"\{\}", "block"), (r"\{stage\}", "stage"), (r"\{block\}", "block")):
            pattern = pattern.replace(placeholder, rf"(?P<{group}>\d+)")
        found = [match.groupdict() for key in vit if (match := re.fullmatch(pattern, key))]
        depths: dict[int, int] = {}
        for numbers in found:
            stage = int(numbers.get("stage") or 0)
            depths[stage] = depths.get(stage, 0) + 1
        return [depths[stage] for stage in sorted(depths)]

    @staticmethod
    def _qkv_bias(shape: Callable) -> str:
        if shape("qkv.bias", 0):
            return "all"
        return "qv" if shape("qkv.bias", 0, qkv_bias="qv") else "none"

    def _mlp(self, shape: Callable, hidden: int) -> str:
        if isinstance(self.keys["fc1"], tuple):
            return "swiglu"
        return "mlp" if shape("fc1.weight", 0)[0] == hidden else "swiglu_packed"

    def _pooling(self, shape: Callable, found: Mapping, fields: Mapping) -> dict:
        """Pooling order and final norm, as far as tensors show them."""
        if shape("attn_pool.latent"):
            pool = "map"
        elif shape("norm.weight", pool="avg_norm") and not shape("norm.weight"):
            pool = "avg_norm"
        else:
            pool = "cls" if found["class_token"] else "norm_avg"
        pool = fields.get("pool") or pool
        return dict(pool=pool, final_norm=shape("norm.weight", pool=pool) is not None)

    def _heads(self, shape: Callable, found: Mapping, depths: list[int]) -> dict:
        """Heads and their width."""
        layers = range(sum(depths))
        projections = [shape("proj.weight", layer) for layer in layers]
        if None in projections:
            raise LearngeneError(f"layer {projections.index(None)} of {len(layers)} has no projection of its attention")
        inner = [projection[1] for projection in projections]
        heads = found.get("num_heads")
        if found["rel_pos_bias"] and heads is None:
            heads = [shape("bias_table", layer)[1] for layer in layers]
        if heads is None:
            heads = [
                max(1, dims // 64) if dims % 64 == 0 else 1 for dims in inner
            ]  # only until it is asked for, see from_state_dict
        heads = [heads] * len(layers) if isinstance(heads, int) else list(heads)
        if found["depths"] is not None and len(heads) == len(depths):
            heads = [count for count, depth in zip(heads, depths, strict=True) for _ in range(depth)]
        if len(heads) != len(layers):
            raise LearngeneError(f"num_heads={heads} has {len(heads)} entries for {len(layers)} layers")
        for dims, count in zip(inner, heads, strict=True):
            if count < 1 or dims % count:
                near = min((h for h in range(1, dims + 1) if dims % h == 0), key=lambda h: abs(h - count))
                raise LearngeneError(f"{count} heads do not divide the width {dims}; the nearest that do are {near}")
        if len({dims // count for dims, count in zip(inner, heads, strict=True)}) > 1:
            raise LearngeneError(f"{heads} heads of layers {inner} wide are not of one width")
        return dict(num_heads=heads, head_dim=inner[0] // heads[0])

    def _positions(self, shape: Callable, found: Mapping) -> dict:
        """Image size, window and which tokens have positions."""
        prefix = found["class_token"] + found["dist_token"] + found["reg_tokens"]
        patch, known = found["patch_size"], found.get("img_size")
        table = shape("bias_table", 0)
        side = (math.isqrt(table[0]) + 1) // 2 if table else 0
        if found["depths"] is not None:
            return dict(window_size=found.get("window_size") or side, img_size=known or 8 * patch * side)
        size = (known, known) if isinstance(known, int) else known
        patches = math.prod(side // patch for side in size) if size else None
        positions = shape("pos_embed")
        if positions is None:
            return dict(img_size=known or patch * (side or 14))
        rows = positions[0] - self.spare_positions(
            ViTSpec(1, 1, class_token=found["class_token"], reg_tokens=found["reg_tokens"])
        )
        if patches is None:  # a square grid, with or without positions of the tokens before it
            bare = found.get("no_embed_class")
            choices = [rows] if bare else [rows - prefix] if bare is False else [rows - prefix, rows]
            patches = next((count for count in choices if count > 0 and math.isqrt(count) ** 2 == count), None)
            if patches is None:
                counts = " or ".join(map(str, choices))
                raise LearngeneError(
                    f"{rows} positions leave {counts} for patches, with {prefix} tokens before them: no square grid; "
                    "expected other tokens before them (class token, registers), or img_size=(height, width)"
                )
            size = (math.isqrt(patches) * patch,) * 2
        return dict(img_size=size, no_embed_class=bool(prefix) and rows == patches)

    def take(self, vit: Mapping[str, Tensor], head: Mapping[str, Tensor], spec: ViTSpec) -> ViTWeights:
        """The canonical weights of a ViT whose spec is known.

        Raises:
            LearngeneError: tensors are missing, left over, of another shape than the spec has them, or no weights.
        """
        bad: list[str] = []
        columns: dict[tuple[str, int | None], list[Tensor]] = {}  # the parts of each tensor
        slots = self.bind(spec, "")
        for slot in slots:
            key, tensor = slot.key, head.get(slot.name, vit.get(slot.key))
            part = None if tensor is None else slot.read(tensor)
            if part is not None:
                columns.setdefault((slot.name, slot.layer), []).append(part)
            elif key and tensor is None:
                bad.append(f"{key} is missing")
            else:
                found = tuple(tensor.shape) if tensor is not None else "nowhere"
                bad.append(f"{key or slot.name} is {found}, not of the canonical shape {slot.shape}")
        taken = {slot.key for slot in slots if slot.name not in head}
        left = {key: tensor for key, tensor in vit.items() if key not in taken}
        unknown = [key for key, tensor in left.items() if tensor.numel() and not self.is_aside(key)]
        if bad or unknown:
            raise LearngeneError(
                f"not {self.class_name} {spec}: missing or of another shape: {some(bad)}; "
                f"not understood: {some(unknown)}"
            )
        check_values(self.class_name, {key: tensor for key, tensor in vit.items() if key not in left} | dict(head))
        whole = {at: parts[0] if len(parts) == 1 else torch.cat(parts) for at, parts in columns.items()}
        stem = {name: tensor for (name, layer), tensor in whole.items() if layer is None}
        layers: list[dict[str, Tensor]] = [{} for _ in range(spec.num_layers)]
        for (name, layer), tensor in whole.items():
            if layer is not None:
                layers[layer][name] = tensor
        for slot in slots:
            if slot.spare and spec.class_token:  # a position of its own, added to the token
                positions = vit[slot.key][0] if slot.entry.lead else vit[slot.key]
                stem["cls_token"] = stem["cls_token"] + positions[: slot.spare].sum(0)
        return ViTWeights.from_layers(spec, stem, layers)

    def is_dead(self, key: str) -> bool:
        """Whether a parameter of the class is never used at inference."""
        return any(re.fullmatch(pattern, key) for pattern in self.dead)

    def is_aside(self, key: str) -> bool:
        """Whether a key of the class is no ViT's tensor but may be there: unused, beside the ViT, or a buffer."""
        return self.is_dead(key) or any(re.fullmatch(pattern, key) for pattern in (*self.extra, _BUFFERS))

    # ------------------------------------------------------------------ building

    def build(self, spec: ViTSpec) -> nn.Module:
        """The complete model of ``spec``, at its own start values.

        Raises:
            LearngeneError: the class cannot have a feature of the spec.
        """
        if lacking := self.lacks(spec):
            raise LearngeneError(f"{self.class_name} cannot have {lacking}")
        return self.make(spec)

    def weights(self, module: nn.Module, head: Mapping[str, Tensor], spec: ViTSpec) -> ViTWeights:
        """The canonical weights of a live ViT of a known spec, detached."""
        state = {name: tensor.detach() for name, tensor in module.state_dict().items()}
        return self.take(state, {name: tensor.detach() for name, tensor in head.items()}, spec)

    def path_in(self, model: nn.Module) -> str:
        """The ViT's name in a model that :meth:`build` made, '' where it is the model itself."""
        return self.inside if self.inside and hasattr(model, self.inside) else ""

    def vit_of(self, model: nn.Module) -> nn.Module:
        """The ViT's module in a model that :meth:`build` made."""
        return model.get_submodule(self.path_in(model))


@lru_cache(maxsize=256)
def _bound(
    layout: Layout, spec: ViTSpec, path: str, around: str, heads: tuple[tuple[str, str], ...]
) -> tuple[Slot, ...]:
    """See :meth:`Layout.bind`."""
    slots, found_heads = [], dict(heads)
    for name, layer, shape in named_shapes(spec):
        row, role = row_of(spec, name), "head" if name in HEAD_TENSORS else "ViT"
        if names := layout.head_places(name):
            key = joined(around, found_heads.get(name, names[0]))
            slots.append(Slot(name, None, key, role, Key(names[0]), row, shape))
            continue
        places, start = layout.places(name, spec, layer), 0
        spare = layout.spare_positions(spec) if name == "pos_embed" else 0
        for key, entry in places:
            share = slice(start, start + entry.share) if len(places) > 1 else None
            held = shape if share is None else (entry.share, *shape[1:])
            start += entry.share
            slots.append(Slot(name, layer, joined(path, key), role, entry, row, held, share, spare))
        if not places:
            slots.append(Slot(name, layer, "", role, Key(name), row, shape))
    return tuple(slots)


def joined(*names: str) -> str:
    """The name of a module or tensor below others, of which some may be ''."""
    return ".".join(filter(None, names))


PROBE = ViTSpec(1, 1)


def small_grid(spec: ViTSpec) -> str | None:
    """In words, the first grid of a Swin's stages that is smaller than its windows; None if there is none."""
    for rows, columns in spec.grids:
        if min(rows, columns) < spec.window_size:
            return f"windows of {spec.window_size} on a stage's grid of {rows} x {columns}"
    return None


def _example(name: str, spec: ViTSpec) -> object:
    examples = dict(num_heads=spec.embed_dims // 64 or 1, norm_eps=1e-6, act="gelu", post_norm=False)
    return examples.get(name, getattr(spec, name))


def some(names, most: int = 3) -> str:
    """The first of many names, for messages."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "") or "none"
