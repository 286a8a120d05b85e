"""The fields of a ViT's spec: its size and its features, and what follows from them but the tensors."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ..errors import LearngeneError, check_choice
from ..utils.typed import check_types, shortened

if TYPE_CHECKING:
    from typing_extensions import Self

CHOICES = {
    "pool": ("avg_norm", "norm_avg", "cls", "map"),
    "act": ("gelu", "gelu_tanh", "quick_gelu", "relu", "silu"),
    "mlp": ("mlp", "swiglu", "swiglu_packed"),
    "norm": ("layernorm", "rmsnorm"),
    "pos_embed": ("learn", "none"),
    "qkv_bias": ("all", "qv", "none"),
    "rope": ("none", "cat", "tiled", "dinov3", "mixed"),
    "rope_indexing": ("ij", "xy"),
}
POOLS = CHOICES["pool"]
# what a size is made of; every other field is a feature
SIZES = (
    "num_heads", "num_layers", "head_dim", "mlp_ratio", "patch_size", "img_size", "in_channels", "num_classes",
    "embed_dims", "depths",
)  # fmt: skip
# the words for a feature in messages, where its name alone does not say what it is
WORDS = {
    "init_values": "LayerScale (init_values)",
    "pre_norm": "norm before the layers (pre_norm)",
    "patch_norm": "norm after the patch embedding (patch_norm)",
    "post_norm": "norm behind attention and MLP (post_norm)",
    "final_norm": "final norm (final_norm)",
    "reg_tokens": "register tokens (reg_tokens)",
    "dist_token": "distillation token (dist_token)",
    "class_token": "class token (class_token)",
    "no_embed_class": "prefix tokens without positions (no_embed_class)",
    "rel_pos_bias": "relative-position bias (rel_pos_bias)",
    "scale_attn_norm": "norm inside the attention (scale_attn_norm)",
    "scale_mlp_norm": "norm inside the MLP (scale_mlp_norm)",
    "qk_norm": "norm of queries and keys (qk_norm)",
    "rope": "rotary positions (rope)",
    "act": "activation (act)",
    "mlp": "MLP (mlp)",
    "pool": "pooling (pool)",
    "norm": "norm (norm)",
    "pos_embed": "positions (pos_embed)",
    "window_size": "windows (window_size)",
    "learngene_heads": "maps over the heads (learngene_heads)",
}
# what no ViT exceeds: what does is refused before anything is built from it
MAX = dict(
    num_heads=1024, num_layers=1024, head_dim=4096, patch_size=1024, img_size=32768, in_channels=4096,
    num_classes=10_000_000, embed_dims=65536, depths=1024, window_size=1024, reg_tokens=4096, attn_pool_num_heads=1024,
    rope_ref_grid=32768, learngene_heads=1024, mlp_ratio=256, attn_pool_mlp_ratio=256,
)  # fmt: skip
MAX_PATCHES = 2**20
_ROPE = ("rope_temperature", "rope_offset", "rope_indexing", "rope_half", "rope_ref_grid")
_NUMBERS = r"(\d{1,18}(?:,\d{1,18})*)"
_SIZE = re.compile(rf"h{_NUMBERS}[-_]?l{_NUMBERS}", re.IGNORECASE | re.ASCII)
_SWIN = dict(
    head_dim=32, patch_size=4, window_size=7, patch_norm=True, rel_pos_bias=True, pos_embed="none",
    pool="norm_avg", norm_eps=1e-5,
)  # fmt: skip


@dataclass(frozen=True)
class ViTFields:
    """The size and features of a Vision Transformer, see :class:`mmlearngene.ViTSpec`.

    The features have timm's names where timm has one; their defaults are the plain ViT's.

    Args:
        num_heads: attention heads of every layer; or a schedule, one number a layer. With stages: one number a stage
            or a layer. Equal numbers become one.
        num_layers: transformer layers; a list gives those of each stage.
        head_dim: channels of a head.
        mlp_ratio: hidden width of the feed-forward network over ``embed_dims``.
        patch_size: side of a square patch in pixels.
        img_size: image side in pixels, or (height, width). Of a ViT it need not be divisible into patches: what is left
            over, at the right and below, is in none.
        in_channels: image channels.
        num_classes: outputs of the linear head; 0 means no head.
        class_token: whether a class token is prepended.
        pool: ``avg_norm`` averages the patch tokens, then normalises (timm's ``fc_norm``); ``norm_avg`` normalises
            every token, then averages; ``cls`` normalises, then takes the class token; ``map`` normalises, then pools
            by the attention of a learned query (SigLIP).
        norm_eps: epsilon of every norm.
        embed_dims: width of the residual stream (of the first stage); ``num_heads * head_dim`` unless said otherwise.
            A schedule of heads does not tell it and needs it.
        depths: layers of each stage of a hierarchical ViT, whose width doubles and whose grid halves from stage to
            stage; ``num_layers`` is their sum.
        window_size: side, in patches, of the windows that attention stays in, every second layer's shifted (Swin).
        act: activation of the feed-forward network.
        mlp: ``mlp``, or ``swiglu``: ``fc2(silu(gate x) * fc1 x)``; ``swiglu_packed`` is the same with the gate and fc1
            in one matrix.
        norm: ``layernorm`` or ``rmsnorm``.
        init_values: start value of LayerScale; None for no LayerScale.
        dist_token: whether a distillation token and a head of its own follow the class token (DeiT).
        reg_tokens: number of register tokens, behind the class token.
        no_embed_class: whether class, distillation and register tokens have no positions.
        pos_embed: ``learn``: learned absolute positions; ``none``.
        pre_norm: norm before the layers (CLIP).
        patch_norm: norm after the patch embedding.
        patch_bias: bias of the patch embedding.
        qkv_bias: ``all``, ``qv`` (keys have none) or ``none``.
        proj_bias: bias of the attention's projection.
        mlp_bias: biases of the feed-forward network.
        qk_norm: norm of queries and keys, over the channels of a head.
        scale_attn_norm: norm of the attention's output, before its projection (EVA-02, BEiT-3).
        scale_mlp_norm: norm of the hidden layer of the feed-forward network.
        post_norm: norms behind attention and feed-forward network instead of before.
        final_norm: whether there is a norm behind the layers.
        pool_include_prefix: whether pooling averages or attends to class and register tokens, too.
        attn_pool_num_heads: heads of the attention pooling; ``num_heads`` when None.
        attn_pool_mlp_ratio: hidden width of the attention pooling's MLP over ``embed_dims``; ``mlp_ratio`` when None.
        rel_pos_bias: a table of relative positions in each layer, added to the attention logits (Swin, BEiT).
        rope: rotary positions: ``cat`` (EVA), ``tiled`` (the same with each axis's frequencies repeated as a whole, and
            a reference grid of half a head's channels: mmpretrain's EVA-02), ``dinov3``, ``mixed`` (learned
            frequencies) or ``none``.
        rope_temperature: their base.
        rope_offset: added to the grid's coordinates.
        rope_indexing: order of the coordinates, ``ij`` or ``xy``.
        rope_half: whether the halves of a head rotate against each other, or its neighbouring channels.
        rope_ref_grid: grid that coordinates are scaled to; the grid itself when None.
        learngene_heads: heads of q, k and v that two maps expand to ``num_heads`` (PEG's attention); 0 for none.

    Raises:
        LearngeneError: a number is not positive, a choice is unknown, a schedule of heads has another length than the
            ViT or no ``embed_dims``, the image is smaller than a patch, or of a Swin not divisible into patches, or
            ``pool='cls'`` has no class token.
    """

    num_heads: int | tuple[int, ...]
    num_layers: int | tuple[int, ...]
    head_dim: int = 64
    mlp_ratio: float = 4
    patch_size: int = 16
    img_size: int | tuple[int, int] = 224
    in_channels: int = 3
    num_classes: int = 1000
    class_token: bool = False
    pool: str = "avg_norm"
    norm_eps: float = 1e-6
    embed_dims: int | None = None
    depths: tuple[int, ...] | None = None
    window_size: int | None = None
    act: str = "gelu"
    mlp: str = "mlp"
    norm: str = "layernorm"
    init_values: float | None = None
    dist_token: bool = False
    reg_tokens: int = 0
    no_embed_class: bool = False
    pos_embed: str = "learn"
    pre_norm: bool = False
    patch_norm: bool = False
    patch_bias: bool = True
    qkv_bias: str = "all"
    proj_bias: bool = True
    mlp_bias: bool = True
    qk_norm: bool = False
    scale_attn_norm: bool = False
    scale_mlp_norm: bool = False
    post_norm: bool = False
    final_norm: bool = True
    pool_include_prefix: bool = False
    attn_pool_num_heads: int | None = None
    attn_pool_mlp_ratio: float | None = None
    rel_pos_bias: bool = False
    rope: str = "none"
    rope_temperature: float = 10000.0
    rope_offset: float = 0.0
    rope_indexing: str = "ij"
    rope_half: bool = False
    rope_ref_grid: tuple[int, int] | None = None
    learngene_heads: int = 0

    def __post_init__(self) -> None:
        check_types(ViTFields, {field.name: getattr(self, field.name) for field in dataclasses.fields(self)})
        self._check_bounds()
        for name, value in dict(img_size=_pair(self.img_size), rope_ref_grid=_pair(self.rope_ref_grid)).items():
            object.__setattr__(self, name, value)
        if not isinstance(self.num_layers, int):
            object.__setattr__(self, "depths", tuple(self.num_layers))
        if self.depths is not None:
            object.__setattr__(self, "depths", tuple(self.depths))
            object.__setattr__(self, "num_layers", sum(self.depths))
        if not isinstance(self.num_heads, int):
            object.__setattr__(self, "num_heads", self._schedule(tuple(self.num_heads)))
        if self.embed_dims is None:
            if self.depths is not None or not isinstance(self.num_heads, int):
                raise LearngeneError(f"num_heads={self.num_heads} differs by layer and needs embed_dims to be given")
            object.__setattr__(self, "embed_dims", self.num_heads * self.head_dim)
        self._check()
        # what is the default anyway is the same spec as the default
        if self.attn_pool_num_heads == self.heads[0]:
            object.__setattr__(self, "attn_pool_num_heads", None)
        if (
            self.attn_pool_mlp_ratio
            and hidden_width(self.embed_dims, self.attn_pool_mlp_ratio) == self.feedforward_channels
        ):
            object.__setattr__(self, "attn_pool_mlp_ratio", None)

    def _check_bounds(self) -> None:
        for name, most in MAX.items():
            value = getattr(self, name)
            numbers = value if isinstance(value, (tuple, list)) else [value]
            if len(numbers) > MAX["num_layers"]:
                raise LearngeneError(f"{name} has {len(numbers)} entries, more than {MAX['num_layers']}")
            if any(isinstance(number, (int, float)) and number > most for number in numbers):
                raise LearngeneError(f"{name}={shortened(value)} is more than {most}")

    def _schedule(self, heads: tuple[int, ...]) -> int | tuple[int, ...]:
        """One number for each layer, or for each stage where layers of a stage agree; one number where all agree."""
        if len(heads) == self.num_layers:
            by_stage = [{heads[layer] for layer in layers} for layers in self.stages]
            if all(len(counts) == 1 for counts in by_stage):
                heads = tuple(count for counts in by_stage for count in counts)
        elif self.depths is None or len(heads) != len(self.depths):
            stages = f"one number for each of {len(self.depths)} stages or " if self.depths else ""
            raise LearngeneError(
                f"num_heads={heads} has {len(heads)} entries for {self.num_layers} layers; expected {stages}one for "
                f"each of {self.num_layers} layers"
            )
        return heads[0] if self.depths is None and len(heads) == 1 else heads

    def _check(self) -> None:
        for name, choices in CHOICES.items():
            check_choice(getattr(self, name), choices, name)
        if min(self.heads, default=1) <= 0:
            raise LearngeneError(f"num_heads={self.num_heads} must be positive")
        if self.depths is not None and min(self.depths, default=0) <= 0:
            raise LearngeneError(f"depths={self.depths} must be positive")
        positive = [
            "num_layers",
            "head_dim",
            "mlp_ratio",
            "patch_size",
            "in_channels",
            "embed_dims",
            "rope_temperature",
        ]
        where_given = ("window_size", "attn_pool_num_heads", "attn_pool_mlp_ratio")
        positive += [name for name in where_given if getattr(self, name) is not None]
        for name in positive:
            if getattr(self, name) <= 0:
                raise LearngeneError(f"{name}={getattr(self, name)} must be positive")
        if self.num_classes < 0:
            raise LearngeneError(f"num_classes={self.num_classes} must be 0 (no head) or more")
        for name in ("reg_tokens", "learngene_heads", "norm_eps"):
            if getattr(self, name) < 0:
                raise LearngeneError(f"{name}={getattr(self, name)} must be 0 or more")
        size = self.img_size
        if len(size) != 2 or min(size) < self.patch_size or (self.depths is not None and self.leaves_pixels_out):
            raise LearngeneError(self._not_divisible())
        if math.prod(self.grid) > MAX_PATCHES:
            raise LearngeneError(
                f"img_size={size} has {math.prod(self.grid):,} patches of {self.patch_size}, more than {MAX_PATCHES:,}"
            )
        if self.pool == "cls" and not self.class_token:
            raise LearngeneError("pool='cls' needs class_token=True; without one use 'avg_norm' or 'norm_avg'")
        if self.dist_token and not self.class_token:
            raise LearngeneError("dist_token=True needs class_token=True")
        if self.pool == "map" and self.embed_dims % self.pool_heads:
            raise LearngeneError(f"attn_pool_num_heads={self.pool_heads} does not divide embed_dims={self.embed_dims}")
        if self.depths is not None and (self.num_prefix_tokens or self.pos_embed != "none" or not self.window_size):
            raise LearngeneError(
                "a ViT of several stages has windows, no class, distillation or register token and no absolute "
                "positions: window_size=7, pos_embed='none'"
            )

    @classmethod
    def parse(cls, size: str | ViTFields | Mapping, **fields) -> Self:
        """Read a size as it is written everywhere: ``'h6-l12'`` (also ``'H6-L12'``, ``'h6_l12'``).

        A schedule of heads has one number a layer: ``'h4,4,6,6-l4'``. A Swin has its stages' layers:
        ``'h3,6,12,24-l2,2,6,2'``, and a Swin's features unless said otherwise.

        Args:
            size: the text; a mapping of the fields or a spec is taken as it is.
            **fields: the other fields of the spec, overriding those of ``size``.

        Raises:
            LearngeneError: the text is not a size, or a field does not exist.
        """
        if not isinstance(size, (ViTFields, Mapping)):
            match = _SIZE.fullmatch(str(size).strip())
            if not match:
                numbers = re.findall(r"\b\d{1,4}\b", str(size)[:80], re.ASCII) + ["6", "12"]
                raise LearngeneError(
                    f"{shortened(size)!r} is not a ViT size; "
                    f"expected heads and layers as in 'h{numbers[0]}-l{numbers[1]}'"
                )
            heads, layers = ([int(number) for number in numbers.split(",")] for numbers in match.groups())
            size = dict(num_heads=heads if len(heads) > 1 else heads[0], num_layers=layers[0])
            if len(layers) > 1:
                size = dict(_SWIN, num_heads=heads, num_layers=sum(layers), depths=layers)
        if isinstance(size, Mapping):
            fields = {**size, **fields}
        for name in fields:
            check_choice(name, (f.name for f in dataclasses.fields(cls)), "ViT field")
        if isinstance(size, ViTFields):
            return size.replace(**fields)
        if missing := {"num_heads", "num_layers"} - fields.keys():
            raise LearngeneError(f"the ViT of {fields} has no {' and no '.join(sorted(missing))}")
        return cls(**fields)

    def replace(self, **fields) -> Self:
        """A copy with other fields; a new number of heads moves ``embed_dims`` along unless that was set apart.

        Where nothing changes it is this spec itself, whose checks need not be made again.
        """
        if "num_layers" in fields and "depths" not in fields:
            fields["depths"] = None
        if all(type(value) is type(own := getattr(self, name)) and value == own for name, value in fields.items()):
            return self
        if "embed_dims" not in fields and isinstance(self.num_heads, int) and self.embed_dims == self.inner_dims:
            fields["embed_dims"] = None
        return dataclasses.replace(self, **fields)

    def sized(self, **fields) -> Self:
        """:meth:`replace` with sizes that are asked for: a new image must be divisible into patches.

        Raises:
            LearngeneError: it is not; names the nearest size.
        """
        changed = self.replace(**fields)
        if changed.leaves_pixels_out and (changed.img_size, changed.patch_size) != (self.img_size, self.patch_size):
            raise LearngeneError(changed._not_divisible())
        return changed

    @property
    def leaves_pixels_out(self) -> bool:
        """Whether patches do not divide the image: pixels at its right and lower side are in none (SigLIP at 384)."""
        return any(side % self.patch_size for side in self.img_size)

    def _not_divisible(self) -> str:
        size = self.img_size
        near = tuple(max(1, round(side / self.patch_size)) * self.patch_size for side in size)
        near_patches = range((self.patch_size + 1) // 2, min(2 * self.patch_size, 128) + 1)
        fits = [n for n in near_patches if min(size, default=0) > 0 and math.gcd(*size) % n == 0]
        patch = min(fits, key=lambda n: (abs(n - self.patch_size), -n), default=None)
        return f"img_size={size} is not divisible into patches of {self.patch_size}; the nearest size is {near}" + (
            f", the nearest patch_size for this one {patch}" if patch else ""
        )

    def asdict(self) -> dict:
        """The fields as plain JSON values; ``ViTSpec(**spec.asdict()) == spec``."""
        fields = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    def features(self) -> dict[str, object]:
        """What decides the computation beside the sizes: field -> value, those without effect at their defaults.

        Start values and packing are no difference: ``init_values`` is whether there is a LayerScale, and
        ``swiglu_packed`` is ``swiglu``.
        """
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in SIZES}
        fields["init_values"] = self.init_values is not None
        fields["mlp"] = "swiglu" if self.mlp == "swiglu_packed" else self.mlp
        if self.mlp != "mlp":
            fields["act"] = "silu"
        if not self.num_prefix_tokens or self.pos_embed == "none":
            fields["no_embed_class"] = False
        if self.rope == "none":
            fields |= {f.name: f.default for f in dataclasses.fields(self) if f.name in _ROPE}
        if self.pool != "map":
            fields |= dict(attn_pool_num_heads=None, attn_pool_mlp_ratio=None)
        if self.pool == "avg_norm" and not self.final_norm:  # a mean alone
            fields["pool"] = "norm_avg"
        if not self.num_prefix_tokens or self.pool == "cls":
            fields["pool_include_prefix"] = False
        return fields

    def __str__(self) -> str:
        heads = [self.num_heads] if isinstance(self.num_heads, int) else self.num_heads
        layers = self.depths or [self.num_layers]
        return f"h{','.join(map(str, heads))}-l{','.join(map(str, layers))}"

    @property
    def kind(self) -> str:
        """``ViT``, or ``Swin`` for a ViT of several stages."""
        return "Swin" if self.depths is not None else "ViT"

    @cached_property
    def stages(self) -> tuple[range, ...]:
        """The layers of each stage, counted through all stages; a plain ViT has one."""
        depths = self.depths or (self.num_layers,)
        starts = [sum(depths[:stage]) for stage in range(len(depths))]
        return tuple(range(start, start + depth) for start, depth in zip(starts, depths, strict=True))

    def stage(self, layer: int) -> int:
        """The stage of a layer."""
        return next(stage for stage, layers in enumerate(self.stages) if layer in layers)

    @cached_property
    def heads(self) -> tuple[int, ...]:
        """Attention heads of each layer."""
        if isinstance(self.num_heads, int):
            return (self.num_heads,) * self.num_layers
        if len(self.num_heads) == self.num_layers:
            return self.num_heads
        return tuple(heads for heads, layers in zip(self.num_heads, self.stages, strict=True) for _ in layers)

    @property
    def inner_dims(self) -> int:
        """Channels of all heads of a layer (its widest) together; equal to ``embed_dims`` in an ordinary ViT."""
        return max(self.heads, default=0) * self.head_dim

    @property
    def is_ordinary(self) -> bool:
        """Whether the heads of every layer together are as wide as the residual stream, as in any published ViT."""
        return not self.learngene_heads and all(
            heads * self.head_dim == self.embed_dims << self.stage(layer) for layer, heads in enumerate(self.heads)
        )

    @property
    def feedforward_channels(self) -> int:
        """Hidden width of the feed-forward network, in the first stage."""
        return hidden_width(self.embed_dims, self.mlp_ratio)

    @property
    def pool_heads(self) -> int:
        """Heads of the attention pooling."""
        return self.attn_pool_num_heads or self.heads[0]

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along (height, width), in the first stage."""
        return self.img_size[0] // self.patch_size, self.img_size[1] // self.patch_size

    @property
    def grids(self) -> list[tuple[int, int]]:
        """Patches along (height, width) in each stage; an odd side is padded before it is halved."""
        rows, columns = self.grid
        return [(-(-rows // 2**stage), -(-columns // 2**stage)) for stage in range(len(self.stages))]

    @property
    def num_prefix_tokens(self) -> int:
        """Class, distillation and register tokens."""
        return self.class_token + self.dist_token + self.reg_tokens

    @property
    def num_tokens(self) -> int:
        """Patches of the first stage and the tokens before them."""
        return math.prod(self.grid) + self.num_prefix_tokens

    @property
    def prefix_positions(self) -> int:
        """Positions of the tokens before the patches."""
        return 0 if self.no_embed_class else self.num_prefix_tokens

    @property
    def num_positions(self) -> int:
        """Rows of the learned positions."""
        return math.prod(self.grid) + self.prefix_positions

    @property
    def num_offsets(self) -> int:
        """Rows of a table of relative positions; three of them are a class token's."""
        rows, columns = (self.window_size,) * 2 if self.window_size else self.grid
        return (2 * rows - 1) * (2 * columns - 1) + 3 * self.class_token


def _pair(value: int | Sequence[int] | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    return (value, value) if isinstance(value, int) else tuple(value)


def hidden_width(width: int, ratio: float) -> int:
    """Channels of a hidden layer, so that hidden / width, as a ratio, gives hidden again."""
    return int(width * ratio + 1e-6)
