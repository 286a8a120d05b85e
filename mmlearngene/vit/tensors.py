"""The tensor table: every tensor that a Vision Transformer may have, its named axes, when it exists, how it starts.

Shapes, parameter counts, FLOPs, weight decay and start values follow from :data:`TABLE`, and so does what a method may
treat: methods act on axes (``width``, ``head``, ``hidden``, ...), not on lists of names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from ..errors import LearngeneError
from .fields import ViTFields, hidden_width

if TYPE_CHECKING:
    from torch import Tensor

_STAGE_NUMBER = re.compile(r"^downsample\d+")


@dataclass(frozen=True)
class Row:
    """One tensor of the table.

    Attributes:
        name: canonical name, ``'qkv.weight'``; ``downsample{}.`` has the number of its stage.
        axes: names of the axes, those that frameworks merge into one in brackets: ``'(qkv head dim) width'``.
        when: whether a ViT of a spec has it.
        start: how it starts: ``normal`` (std 0.02, truncated), ``zeros``, ``ones``, ``kernel`` (uniform within
            1 / sqrt(fan in)), ``scale`` (the spec's ``init_values``) or ``rope`` (random directions).
        decay: whether weight decay acts on it: on matrices, not on vectors, tokens, positions and tables.
        scope: ``stem`` (once), ``stage`` (between two stages) or ``layer``.
        last: whether a tensor of the stem has the width of the last stage, as the final norm has.
        per: what multiplies it, for counting FLOPs: every ``token``, every ``patch``, every token that is ``pooled``,
            ``once``, or nothing.
    """

    name: str
    axes: str
    when: Callable[[ViTFields], bool]
    start: str = "zeros"
    decay: bool = False
    scope: str = "stem"
    last: bool = False
    per: str = ""

    @property
    def axis_names(self) -> tuple[str, ...]:
        """The axes, brackets removed."""
        return _axis_names(self.axes)

    @property
    def groups(self) -> list[int]:
        """How many axes make each axis of a framework's tensor: ``'(qkv head dim) width'`` gives [3, 1]."""
        return _groups(self.axes)

    def axis(self, name: str) -> int | None:
        """The number of an axis, None where the tensor has none of this name."""
        return self.axis_names.index(name) if name in self.axis_names else None


@lru_cache
def _axis_names(axes: str) -> tuple[str, ...]:
    return tuple(axes.replace("(", "").replace(")", "").split())


@lru_cache
def _groups(axes: str) -> list[int]:
    return [len(group.strip("()").split()) for group in re.findall(r"\([^)]*\)|\S+", axes)]


def _always(spec: ViTFields) -> bool:
    return True


def _linear(
    name: str, axes: str, bias: str, when: Callable = _always, has_bias: Callable = _always, **row
) -> list[Row]:
    """A matrix and its bias."""
    return [
        Row(f"{name}.weight", axes, when, start="normal", decay=True, **row),
        Row(f"{name}.bias", bias, lambda spec: when(spec) and has_bias(spec), **{**row, "per": ""}),
    ]


def _norm(name: str, axes: str, when: Callable = _always, **row) -> list[Row]:
    """Scale and shift of a LayerNorm; an RMSNorm has no shift."""
    return [
        Row(f"{name}.weight", axes, when, start="ones", **row),
        Row(f"{name}.bias", axes, lambda spec: when(spec) and spec.norm == "layernorm", **row),
    ]


def _is_gated(spec: ViTFields) -> bool:
    return spec.mlp != "mlp"


def _has_pool(spec: ViTFields) -> bool:
    return spec.pool == "map"


LAYER = dict(scope="layer")
STAGE = dict(scope="stage")
LAST = dict(last=True)
TABLE: tuple[Row, ...] = (
    Row("patch_embed.weight", "width channel patch patch", _always, start="kernel", decay=True, per="patch"),
    Row("patch_embed.bias", "width", lambda spec: spec.patch_bias),
    *_norm("patch_norm", "width", lambda spec: spec.patch_norm),
    Row("cls_token", "width", lambda spec: spec.class_token, start="normal"),
    Row("dist_token", "width", lambda spec: spec.dist_token, start="normal"),
    Row("reg_tokens", "register width", lambda spec: spec.reg_tokens > 0, start="normal"),
    Row("pos_embed", "token width", lambda spec: spec.pos_embed == "learn", start="normal"),
    *_norm("norm_pre", "width", lambda spec: spec.pre_norm),
    # a layer
    *_norm("norm1", "width", **LAYER),
    *_linear(
        "qkv",
        "(qkv head dim) width",
        "(qkv_bias head dim)",
        has_bias=lambda spec: spec.qkv_bias != "none",
        per="token",
        **LAYER,
    ),
    *_norm("q_norm", "dim", lambda spec: spec.qk_norm, **LAYER),
    *_norm("k_norm", "dim", lambda spec: spec.qk_norm, **LAYER),
    Row("bias_table", "offset head", lambda spec: spec.rel_pos_bias, start="normal", **LAYER),
    Row("rope_freqs", "direction head half", lambda spec: spec.rope == "mixed", start="rope", **LAYER),
    # two maps over the heads of PEG's attention: of the logits and of the values
    *(
        row
        for module in ("logits", "values")
        for row in (
            *_linear(f"{module}.0", "map_hidden few_heads", "map_hidden", lambda s: s.learngene_heads > 0, **LAYER),
            *_linear(f"{module}.2", "head map_hidden", "head", lambda s: s.learngene_heads > 0, **LAYER),
        )
    ),
    *_norm("attn_norm", "(head dim)", lambda spec: spec.scale_attn_norm, **LAYER),
    *_linear("proj", "width (head dim)", "width", has_bias=lambda spec: spec.proj_bias, per="token", **LAYER),
    Row("ls1.gamma", "width", lambda spec: spec.init_values is not None, start="scale", **LAYER),
    *_norm("norm2", "width", **LAYER),
    *_linear(
        "fc1",
        "hidden width",
        "hidden",
        lambda spec: not _is_gated(spec),
        lambda spec: spec.mlp_bias,
        per="token",
        **LAYER,
    ),
    *_linear(
        "fc1", "(gate hidden) width", "(gate hidden)", _is_gated, lambda spec: spec.mlp_bias, per="token", **LAYER
    ),
    *_norm("mlp_norm", "hidden", lambda spec: spec.scale_mlp_norm, **LAYER),
    *_linear("fc2", "width hidden", "width", has_bias=lambda spec: spec.mlp_bias, per="token", **LAYER),
    Row("ls2.gamma", "width", lambda spec: spec.init_values is not None, start="scale", **LAYER),
    # between stages: the four neighbours' channels, normalised and reduced to twice the width
    *_norm("downsample{}.norm", "(width row column)", **STAGE),
    Row(
        "downsample{}.reduction.weight", "wide (width row column)", _always, "normal", decay=True, per="token", **STAGE
    ),
    # behind the layers
    *_norm("norm", "width", lambda spec: spec.final_norm, **LAST),
    Row("attn_pool.latent", "width", _has_pool, start="normal", **LAST),
    *_linear("attn_pool.qkv", "(qkv pool_head pool_dim) width", "(qkv pool_head pool_dim)", _has_pool, **LAST),
    *_linear("attn_pool.proj", "width (pool_head pool_dim)", "width", _has_pool, per="once", **LAST),
    *_norm("attn_pool.norm", "width", _has_pool, **LAST),
    *_linear("attn_pool.fc1", "pool_hidden width", "pool_hidden", _has_pool, per="once", **LAST),
    *_linear("attn_pool.fc2", "width pool_hidden", "width", _has_pool, per="once", **LAST),
    *_linear("head", "class width", "class", lambda spec: spec.num_classes > 0, per="once", **LAST),
    *_linear("head_dist", "class width", "class", lambda s: s.dist_token and s.num_classes > 0, per="once", **LAST),
)
LAYER_TENSORS = frozenset(row.name for row in TABLE if row.scope == "layer")


@lru_cache(maxsize=256)
def rows(spec: ViTFields, scope: str | None = None) -> tuple[Row, ...]:
    """The rows of the tensors that a ViT of ``spec`` has, of one scope or of all."""
    stages = len(spec.stages) > 1
    return tuple(
        row for row in TABLE if scope in (None, row.scope) and row.when(spec) and (stages or row.scope != "stage")
    )


def row_of(spec: ViTFields, name: str) -> Row:
    """The row of a tensor that a ViT of ``spec`` has, by its canonical name."""
    return _by_name(spec)[_STAGE_NUMBER.sub("downsample{}", name)]


@lru_cache(maxsize=256)
def _by_name(spec: ViTFields) -> dict[str, Row]:
    return {row.name: row for row in rows(spec)}


def axis_sizes(spec: ViTFields, stage: int = 0, layer: int = 0) -> dict[str, int]:
    """The length of every axis, in a stage and for the heads of a layer."""
    width, heads = spec.embed_dims << stage, spec.heads[layer]
    return {
        "width": width,
        "wide": 2 * width,
        "row": 2,
        "column": 2,
        "channel": spec.in_channels,
        "patch": spec.patch_size,
        "token": spec.num_positions,
        "register": spec.reg_tokens,
        "qkv": 3,
        "qkv_bias": 2 if spec.qkv_bias == "qv" else 3,
        "head": heads,
        "dim": spec.head_dim,
        "half": spec.head_dim // 2,
        "direction": 2,
        "offset": spec.num_offsets,
        "few_heads": spec.learngene_heads,
        "map_hidden": 2 * spec.learngene_heads,
        "gate": 2,
        "hidden": hidden_width(width, spec.mlp_ratio),
        "pool_head": spec.pool_heads,
        "pool_dim": width // spec.pool_heads,
        "pool_hidden": hidden_width(width, spec.attn_pool_mlp_ratio or spec.mlp_ratio),
        "class": spec.num_classes,
    }


def _shape(row: Row, sizes: Mapping[str, int], spec: ViTFields) -> tuple[int, ...]:
    if spec.learngene_heads and row.name.startswith("qkv."):  # the maps make the other heads of them
        sizes = {**sizes, "head": spec.learngene_heads}
    return tuple(sizes[axis] for axis in row.axis_names)


def stem_shapes(spec: ViTFields) -> dict[str, tuple[int, ...]]:
    """Canonical shape of the tensors outside the layers, those between stages included."""
    last = len(spec.stages) - 1
    shapes = {}
    for row in rows(spec):
        if row.scope == "stem":
            shapes[row.name] = _shape(row, axis_sizes(spec, last if row.last else 0), spec)
        elif row.scope == "stage":
            for stage in range(last):
                shapes[row.name.format(stage)] = _shape(row, axis_sizes(spec, stage), spec)
    return shapes


def layer_shapes(spec: ViTFields, layer: int = 0) -> dict[str, tuple[int, ...]]:
    """Canonical shape of one layer's tensors, without the leading layer axis."""
    sizes = axis_sizes(spec, spec.stage(layer), layer)
    return {row.name: _shape(row, sizes, spec) for row in rows(spec, "layer")}


def num_params(spec: ViTFields) -> int:
    """Exact number of parameters."""
    tables = [stem_shapes(spec), *(layer_shapes(spec, layer) for layer in range(spec.num_layers))]
    return sum(math.prod(shape) for table in tables for shape in table.values())


def macs(spec: ViTFields) -> int:
    """Multiply-accumulates of one image through every matrix product, attention included."""
    patches = [math.prod(grid) for grid in spec.grids]
    prefix = spec.num_prefix_tokens
    pooled = patches[-1] + (prefix if spec.pool_include_prefix else 0)
    counts = {"token": patches[0] + prefix, "patch": patches[0], "once": 1, "": 0}
    shapes, total = stem_shapes(spec), 0
    for name, shape in shapes.items():
        row = row_of(spec, name)
        tokens = counts[row.per]
        if row.scope == "stage" and row.per:
            tokens = patches[int(re.search(r"\d+", name)[0]) + 1]
        total += tokens * math.prod(shape)
    if spec.pool == "map":  # one query, keys and values of the pooled tokens, and their attention
        width = spec.embed_dims
        total += width * width * (1 + 2 * pooled) + 2 * pooled * width
    for layer, heads in enumerate(spec.heads):
        stage = spec.stage(layer)
        tokens = attended = seen = patches[stage] + prefix
        if side := spec.window_size:  # a grid is padded to whole windows for its attention
            seen = side**2
            attended = math.prod(math.ceil(length / side) for length in spec.grids[stage]) * seen
        for row in rows(spec, "layer"):
            if row.per:
                of = attended if "head" in row.axis_names else tokens
                total += of * math.prod(_shape(row, axis_sizes(spec, stage, layer), spec))
        total += 2 * attended * seen * heads * spec.head_dim
    return total


def start_value(spec: ViTFields, name: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor at a ViT's usual start values (timm's and DeiT's); :class:`Row` says how each one starts.

    Args:
        spec: the ViT.
        name: canonical name.
        shape: of the result, for tensors of several layers with their axis in front.
    """
    import torch  # here, as the table is read by commands that compute nothing
    from torch import nn

    row, tensor = row_of(spec, name), torch.zeros(shape)
    if row.start == "normal":
        nn.init.trunc_normal_(tensor, std=0.02)
    elif row.start == "ones":
        tensor.fill_(1)
    elif row.start == "scale":
        tensor.fill_(spec.init_values)
    elif row.start == "kernel":
        tensor.uniform_(-1, 1).mul_(1 / math.sqrt(math.prod(shape[-3:])))
    elif row.start == "rope":
        from timm.layers.pos_embed_sincos import init_random_2d_freqs

        layers, heads = math.prod(shape[:-3]), shape[-2]
        freqs = init_random_2d_freqs(2 * shape[-1], layers, heads, spec.rope_temperature, dtype=torch.float32)
        tensor.copy_(freqs.transpose(0, 1).reshape(shape))  # (2, layers, heads, half) -> (layers, 2, heads, half)
    return tensor


def start_values(spec: ViTFields, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """:func:`start_value` of every named shape."""
    return {name: start_value(spec, name, shape) for name, shape in shapes.items()}


def check_table(old: ViTFields, new: ViTFields) -> None:
    """Refuse a table of relative positions of another grid that cannot be resampled.

    Raises:
        LearngeneError: the old grid is oblong and the new one differs.
    """
    if new.num_offsets != old.num_offsets and old.grid[0] != old.grid[1]:
        raise LearngeneError(f"relative-position tables of an oblong grid, {old.grid}, are not resampled")


def decays(name: str) -> bool:
    """Whether weight decay acts on a tensor, by its canonical name; on all matrices that are not in the table."""
    name = _STAGE_NUMBER.sub("downsample{}", name)
    found = [row.decay for row in TABLE if row.name == name]
    return found[0] if found else not name.endswith("bias")


def named_shapes(spec: ViTFields) -> Iterator[tuple[str, int | None, tuple[int, ...]]]:
    """Every tensor of a ViT: canonical name, layer (None outside the layers) and shape."""
    for name, shape in stem_shapes(spec).items():
        yield name, None, shape
    for layer in range(spec.num_layers):
        for name, shape in layer_shapes(spec, layer).items():
            yield name, layer, shape


def spread(num_layers: int, num_sources: int) -> list[int]:
    """Assign layers in order to sources: equally many each, the remainder to the earliest.

    With fewer layers than sources the sources are evenly spaced, first and last included. LeTs divides depth over
    its groups and rows by this rule, SWS over its stages.

    >>> spread(12, 5)
    [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4]
    >>> spread(3, 5)
    [0, 2, 4]
    """
    if num_layers < num_sources:
        step = (num_sources - 1) / max(1, num_layers - 1)
        return [math.floor(layer * step + 0.5) for layer in range(num_layers)]
    share, remainder = divmod(num_layers, num_sources)
    return [source for source in range(num_sources) for _ in range(share + (source < remainder))]
