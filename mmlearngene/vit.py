"""The shape of a Vision Transformer and its weights in canonical, stacked form.

Everything in the core speaks of a ViT through two objects:

* :class:`ViTSpec` - its size ('h6-l12' plus patch, image, classes, pooling order), from which follow the table
  of its tensors, its parameter count and its FLOPs;
* :class:`ViTWeights` - its tensors, with the layer as the leading axis and the heads as an axis of their own.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from timm.layers import resample_abs_pos_embed, resample_patch_embed
from torch import Tensor

from .errors import LearngeneError, check_choice

if TYPE_CHECKING:
    from .swin import SwinSpec

POOLS = ("avg_norm", "norm_avg", "cls")
BLOCK_TENSORS = tuple(
    f"{module}.{kind}" for module in ("norm1", "qkv", "proj", "norm2", "fc1", "fc2") for kind in ("weight", "bias")
)
# tensors of a layer that only a ViT with maps in its attention has (PEG)
ATTENTION_MAPS = tuple(
    f"{module}.{kind}" for module in ("logits.0", "logits.2", "values.0", "values.2") for kind in ("weight", "bias")
)
_LAYER_TENSORS = {*BLOCK_TENSORS, *ATTENTION_MAPS, "bias_table"}  # the last is a Swin's
_SIZE = re.compile(r"h(\d+(?:,\d+)*)[-_]?l(\d+)", re.IGNORECASE)


def block_shapes(width: int, heads: int, head_dim: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Canonical shape of the tensors of one transformer block, of a ViT's layer as of a Swin's block."""
    return {
        "norm1.weight": (width,),
        "norm1.bias": (width,),
        "qkv.weight": (3, heads, head_dim, width),
        "qkv.bias": (3, heads, head_dim),
        "proj.weight": (width, heads, head_dim),
        "proj.bias": (width,),
        "norm2.weight": (width,),
        "norm2.bias": (width,),
        "fc1.weight": (hidden, width),
        "fc1.bias": (hidden,),
        "fc2.weight": (width, hidden),
        "fc2.bias": (width,),
    }


@dataclass(frozen=True)
class ViTSpec:
    """The size of a plain Vision Transformer.

    Args:
        num_heads: attention heads of every layer; or a schedule, one number a layer. Equal numbers become one.
        num_layers: transformer layers.
        head_dim: channels of a head.
        mlp_ratio: hidden width of the feed-forward network over ``embed_dims``.
        patch_size: side of a square patch in pixels.
        img_size: image side in pixels, or (height, width).
        in_channels: image channels.
        num_classes: outputs of the linear head; 0 means no head.
        class_token: whether a class token is prepended (it has a position of its own).
        pool: ``avg_norm`` averages the patch tokens, then normalises (timm's ``fc_norm``); ``norm_avg`` normalises
            every token, then averages; ``cls`` normalises, then takes the class token.
        norm_eps: epsilon of every LayerNorm.
        embed_dims: width of the residual stream; ``num_heads * head_dim`` unless said otherwise. A schedule of heads
            does not tell it and needs it.

    Raises:
        LearngeneError: a number is not positive, a schedule of heads has another length than the ViT or no
            ``embed_dims``, the image is not divisible into patches, or ``pool='cls'`` has no class token to take.
    """

    num_heads: int | tuple[int, ...]
    num_layers: int
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

    def __post_init__(self) -> None:
        size = self.img_size
        size = (size, size) if isinstance(size, int) else tuple(size)
        object.__setattr__(self, "img_size", size)
        if not isinstance(self.num_heads, int):
            self._set_schedule(tuple(self.num_heads))
        if self.embed_dims is None:
            object.__setattr__(self, "embed_dims", self.inner_dims)
        if min(self.heads, default=1) <= 0:
            raise LearngeneError(f"num_heads={self.num_heads} must be positive")
        for name in ("num_layers", "head_dim", "mlp_ratio", "patch_size", "in_channels", "embed_dims"):
            if getattr(self, name) <= 0:
                raise LearngeneError(f"{name}={getattr(self, name)} must be positive")
        if self.num_classes < 0:
            raise LearngeneError(f"num_classes={self.num_classes} must be 0 (no head) or more")
        if len(size) != 2 or any(side <= 0 or side % self.patch_size for side in size):
            near = tuple(max(1, round(side / self.patch_size)) * self.patch_size for side in size)
            raise LearngeneError(
                f"img_size={size} is not divisible into patches of {self.patch_size}; the nearest size is {near}"
            )
        check_choice(self.pool, POOLS, "pool")
        if self.pool == "cls" and not self.class_token:
            raise LearngeneError("pool='cls' needs class_token=True; without one use 'avg_norm' or 'norm_avg'")

    def _set_schedule(self, heads: tuple[int, ...]) -> None:
        if len(heads) != self.num_layers:
            raise LearngeneError(f"num_heads={heads} has {len(heads)} entries for {self.num_layers} layers")
        if len(set(heads)) == 1:
            heads = heads[0]
        elif self.embed_dims is None:
            raise LearngeneError(f"num_heads={heads} differs from layer to layer and needs embed_dims to be given")
        object.__setattr__(self, "num_heads", heads)

    @classmethod
    def parse(cls, size: str | ViTSpec | Mapping, **fields) -> ViTSpec:
        """Read a size as it is written everywhere: ``'h6-l12'`` (also ``'H6-L12'``, ``'h6_l12'``).

        A schedule of heads has one number a layer: ``'h4,4,6,6-l4'``.

        Args:
            size: the text; a mapping of the fields or a ViTSpec is taken as it is.
            **fields: the other fields of the spec, overriding those of ``size``.

        Raises:
            LearngeneError: the text is not a size, or a field does not exist.
        """
        if not isinstance(size, (ViTSpec, Mapping)):
            match = _SIZE.fullmatch(str(size).strip())
            if not match:
                numbers = re.findall(r"\d+", str(size)) + ["6", "12"]
                raise LearngeneError(
                    f"{size!r} is not a ViT size; expected heads and layers as in 'h{numbers[0]}-l{numbers[1]}'"
                )
            heads = [int(number) for number in match[1].split(",")]
            size = dict(num_heads=heads if len(heads) > 1 else heads[0], num_layers=int(match[2]))
        if isinstance(size, Mapping):
            fields = {**size, **fields}
        for name in fields:
            check_choice(name, (f.name for f in dataclasses.fields(cls)), "ViT field")
        if isinstance(size, ViTSpec):
            return size.replace(**fields)
        if missing := {"num_heads", "num_layers"} - fields.keys():
            raise LearngeneError(f"the ViT of {fields} has no {' and no '.join(sorted(missing))}")
        return cls(**fields)

    def replace(self, **fields) -> ViTSpec:
        """A copy with other fields; a new number of heads moves ``embed_dims`` along unless that was set apart."""
        if "embed_dims" not in fields and isinstance(self.num_heads, int) and self.embed_dims == self.inner_dims:
            fields["embed_dims"] = None
        return dataclasses.replace(self, **fields)

    def asdict(self) -> dict:
        """The fields as plain JSON values; ``ViTSpec(**spec.asdict()) == spec``."""
        return {**dataclasses.asdict(self), "img_size": list(self.img_size)}

    def __str__(self) -> str:
        heads = [self.num_heads] if isinstance(self.num_heads, int) else self.num_heads
        return f"h{','.join(map(str, heads))}-l{self.num_layers}"

    @property
    def heads(self) -> tuple[int, ...]:
        """Attention heads of each layer."""
        return (self.num_heads,) * self.num_layers if isinstance(self.num_heads, int) else self.num_heads

    @property
    def inner_dims(self) -> int:
        """Channels of all heads of a layer (its widest) together; equal to ``embed_dims`` in an ordinary ViT."""
        return max(self.heads, default=0) * self.head_dim

    @property
    def is_ordinary(self) -> bool:
        """Whether the heads of every layer together are as wide as the residual stream, as in any published ViT."""
        return isinstance(self.num_heads, int) and self.inner_dims == self.embed_dims

    @property
    def feedforward_channels(self) -> int:
        """Hidden width of the feed-forward network."""
        return int(self.embed_dims * self.mlp_ratio)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along (height, width)."""
        return self.img_size[0] // self.patch_size, self.img_size[1] // self.patch_size

    @property
    def num_tokens(self) -> int:
        """Patches, plus one where there is a class token."""
        return math.prod(self.grid) + int(self.class_token)

    def block_shapes(self, layer: int = 0) -> dict[str, tuple[int, ...]]:
        """Canonical shape of one layer's tensors, without the leading layer axis."""
        return block_shapes(self.embed_dims, self.heads[layer], self.head_dim, self.feedforward_channels)

    def stem_shapes(self) -> dict[str, tuple[int, ...]]:
        """Canonical shape of the tensors outside the layers: patch, class token, positions, final norm, head."""
        width, patch = self.embed_dims, self.patch_size
        shapes = {
            "patch_embed.weight": (width, self.in_channels, patch, patch),
            "patch_embed.bias": (width,),
            "cls_token": (width,),
            "pos_embed": (self.num_tokens, width),
            "norm.weight": (width,),
            "norm.bias": (width,),
            "head.weight": (self.num_classes, width),
            "head.bias": (self.num_classes,),
        }
        if not self.class_token:
            del shapes["cls_token"]
        if not self.num_classes:
            del shapes["head.weight"], shapes["head.bias"]
        return shapes

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The whole canonical tensor table of a ViT with equal layers, stacked: name -> shape."""
        blocks = {name: (self.num_layers, *shape) for name, shape in self.block_shapes().items()}
        return {**self.stem_shapes(), **blocks}

    @property
    def num_params(self) -> int:
        """Exact number of parameters."""
        tables = [self.stem_shapes(), *(self.block_shapes(layer) for layer in range(self.num_layers))]
        return sum(math.prod(shape) for table in tables for shape in table.values())

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image through every matrix product, attention included."""
        tokens, width, inner = self.num_tokens, self.embed_dims, sum(self.heads) * self.head_dim
        attention = 4 * tokens * width * inner + 2 * tokens**2 * inner
        feedforward = self.num_layers * 2 * tokens * width * self.feedforward_channels
        patch = math.prod(self.grid) * width * self.in_channels * self.patch_size**2
        return attention + feedforward + patch + width * self.num_classes

    @property
    def flops(self) -> int:
        """Floating-point operations of one image: two for each multiply-accumulate."""
        return 2 * self.macs


@dataclass
class ViTWeights:
    """The weights of a ViT in canonical form.

    Args:
        spec: the ViT they are for, or a :class:`~mmlearngene.SwinSpec`.
        tensors: canonical name -> tensor. Tensors of a layer have a leading axis over *distinct* layers. Tensors
            may be missing: the ViT keeps its own initial values there.
        layer_map: for each layer of the ViT, its entry on that leading axis; None where nothing is given for the
            layer. Defaults to one entry a layer. Layers that share weights share an entry, so that each distinct
            layer is computed and stored once.
    """

    spec: ViTSpec | SwinSpec
    tensors: dict[str, Tensor | Sequence[Tensor]]
    layer_map: tuple[int | None, ...] = ()

    def __post_init__(self) -> None:
        self.layer_map = tuple(self.layer_map) or tuple(range(self.spec.num_layers))
        if len(self.layer_map) != self.spec.num_layers:
            raise LearngeneError(f"layer_map has {len(self.layer_map)} entries for {self.spec.num_layers} layers")

    def stem(self) -> dict[str, Tensor]:
        """The tensors outside the layers."""
        return {name: tensor for name, tensor in self.tensors.items() if name not in _LAYER_TENSORS}

    def layers(self) -> list[dict[str, Tensor]]:
        """The tensors of each layer, unstacked; layers that share an entry share the very same tensors."""
        # unbind, not indexing: its backward is one stack, where indexing would pad every layer's gradient with zeros
        rows = {
            name: tensor.unbind() if isinstance(tensor, Tensor) else tensor
            for name, tensor in self.tensors.items()
            if name in _LAYER_TENSORS
        }
        return [{} if entry is None else {name: row[entry] for name, row in rows.items()} for entry in self.layer_map]

    def resample(self, spec: ViTSpec) -> ViTWeights:
        """The same weights for another image or patch size, positions and patch kernels resampled by timm.

        Patch kernels follow FlexiViT's pseudo-inverse resize (Beyer et al., CVPR 2023), positions a bicubic one.
        """
        tensors = dict(self.tensors)
        if spec.patch_size != self.spec.patch_size and "patch_embed.weight" in tensors:
            size = [spec.patch_size, spec.patch_size]
            tensors["patch_embed.weight"] = resample_patch_embed(tensors["patch_embed.weight"], size)
        if spec.grid != self.spec.grid and "pos_embed" in tensors:
            tensors["pos_embed"] = resample_abs_pos_embed(
                tensors["pos_embed"][None],
                new_size=list(spec.grid),
                old_size=list(self.spec.grid),
                num_prefix_tokens=int(spec.class_token),
            )[0]
        return ViTWeights(spec, tensors, self.layer_map)


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
