"""The shape of a Swin Transformer (Liu et al., ICCV 2021), the sibling of :class:`~mmlearngene.ViTSpec`.

Its weights are :class:`~mmlearngene.ViTWeights` like any other: a block has the tensors of a ViT's layer and one more,
``bias_table`` (relative positions, heads).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from .errors import LearngeneError, check_choice
from .vit import block_shapes

_SIZE = re.compile(r"h(\d+(?:,\d+)*)[-_]?l(\d+(?:,\d+)*)", re.IGNORECASE)


@dataclass(frozen=True)
class SwinSpec:
    """The size of a plain Swin Transformer: four stages, each half as large and twice as wide as the one before.

    Args:
        num_heads: attention heads of each stage; or a schedule, one number a block. A schedule with equal numbers
            within each stage becomes one number a stage.
        depths: blocks of each stage.
        embed_dims: width of the first stage.
        head_dim: channels of a head.
        window_size: side of a window in patches.
        patch_size: side of a patch of the first stage in pixels.
        img_size: image side in pixels, or (height, width). No weight depends on it.
        in_channels: image channels.
        num_classes: outputs of the linear head; 0 means no head.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        LearngeneError: a number is not positive, there are not four stages, or the heads fit neither the stages nor
            the blocks.
    """

    num_heads: tuple[int, ...]
    depths: tuple[int, ...]
    embed_dims: int
    head_dim: int = 32
    window_size: int = 7
    patch_size: int = 4
    img_size: int | tuple[int, int] = 224
    in_channels: int = 3
    num_classes: int = 1000
    norm_eps: float = 1e-5

    pool: ClassVar[str] = "norm_avg"  # every token is normalised, then all are averaged

    def __post_init__(self) -> None:
        size, heads, depths = self.img_size, tuple(self.num_heads), tuple(self.depths)
        object.__setattr__(self, "img_size", (size, size) if isinstance(size, int) else tuple(size))
        object.__setattr__(self, "depths", depths)
        if len(depths) != 4:
            raise LearngeneError(f"depths={depths}: a Swin has 4 stages, as in 2,2,6,2")
        if len(heads) == sum(depths):
            stages = [set(heads[block] for block in stage) for stage in self.stages]
            if all(len(stage) == 1 for stage in stages):
                heads = tuple(count for stage in stages for count in stage)
        elif len(heads) != 4:
            raise LearngeneError(
                f"num_heads={heads}: expected one number for each of 4 stages, as in 3,6,12,24, or one for each of "
                f"{sum(depths)} blocks"
            )
        object.__setattr__(self, "num_heads", heads)
        for name in ("num_heads", "depths"):
            if min(getattr(self, name)) <= 0:
                raise LearngeneError(f"{name}={getattr(self, name)} must be positive")
        for name in ("embed_dims", "head_dim", "window_size", "patch_size", "in_channels"):
            if getattr(self, name) <= 0:
                raise LearngeneError(f"{name}={getattr(self, name)} must be positive")
        if self.num_classes < 0:
            raise LearngeneError(f"num_classes={self.num_classes} must be 0 (no head) or more")

    @classmethod
    def parse(cls, size: str | SwinSpec | Mapping, **fields) -> SwinSpec:
        """Read a size: ``'h3,6,12,24-l2,2,6,2'``, the heads of each stage (or block) and the blocks of each stage.

        Args:
            size: the text; a mapping of the fields or a SwinSpec is taken as it is.
            **fields: the other fields of the spec, overriding those of ``size``.

        Raises:
            LearngeneError: the text is not a size, or a field does not exist.
        """
        if isinstance(size, SwinSpec):
            return size.replace(**fields)
        if not isinstance(size, Mapping):
            match = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
            if not match:
                raise LearngeneError(
                    f"{size!r} is not a Swin's size; expected heads and blocks of 4 stages as in 'h3,6,12,24-l2,2,6,2'"
                )
            heads, depths = ([int(number) for number in numbers.split(",")] for numbers in match.groups())
            size = dict(num_heads=heads, depths=depths)
        fields = {**size, **fields}
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            check_choice(name, known, "Swin field")
        if missing := {"num_heads", "depths", "embed_dims"} - fields.keys():
            raise LearngeneError(f"the Swin of {fields} has no {' and no '.join(sorted(missing))}")
        return cls(**fields)

    def replace(self, **fields) -> SwinSpec:
        """A copy with other fields."""
        return dataclasses.replace(self, **fields)

    def asdict(self) -> dict:
        """The fields as plain JSON values; ``SwinSpec(**spec.asdict()) == spec``."""
        fields = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    def __str__(self) -> str:
        return f"h{','.join(map(str, self.num_heads))}-l{','.join(map(str, self.depths))}"

    @property
    def num_layers(self) -> int:
        """Blocks of all stages."""
        return sum(self.depths)

    @property
    def stages(self) -> list[range]:
        """The blocks of each stage, counted through all stages."""
        starts = [sum(self.depths[:stage]) for stage in range(4)]
        return [range(start, start + depth) for start, depth in zip(starts, self.depths, strict=True)]

    def stage(self, layer: int) -> int:
        """The stage of a block."""
        return next(stage for stage, blocks in enumerate(self.stages) if layer in blocks)

    @property
    def heads(self) -> tuple[int, ...]:
        """Attention heads of each block."""
        if len(self.num_heads) == self.num_layers:
            return self.num_heads
        return tuple(heads for heads, depth in zip(self.num_heads, self.depths, strict=True) for _ in range(depth))

    @property
    def is_ordinary(self) -> bool:
        """Whether the heads of every block together are as wide as its stage, as in any published Swin."""
        return all(
            heads * self.head_dim == self.embed_dims << self.stage(layer) for layer, heads in enumerate(self.heads)
        )

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along (height, width) in the first stage."""
        return self.img_size[0] // self.patch_size, self.img_size[1] // self.patch_size

    def block_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """Canonical shape of one block's tensors."""
        heads, width = self.heads[layer], self.embed_dims << self.stage(layer)
        table = {"bias_table": ((2 * self.window_size - 1) ** 2, heads)}
        return block_shapes(width, heads, self.head_dim, hidden=4 * width) | table

    def stem_shapes(self) -> dict[str, tuple[int, ...]]:
        """Canonical shape of the tensors outside the blocks: patch, downsampling, final norm, head."""
        width, patch = self.embed_dims, self.patch_size
        shapes = {
            "patch_embed.weight": (width, self.in_channels, patch, patch),
            "patch_embed.bias": (width,),
            "patch_norm.weight": (width,),
            "patch_norm.bias": (width,),
        }
        for stage in range(3):
            inputs = 4 * (width << stage)
            shapes |= {
                f"downsample{stage}.norm.weight": (inputs,),
                f"downsample{stage}.norm.bias": (inputs,),
                f"downsample{stage}.reduction.weight": (inputs // 2, inputs),
            }
        width = width << 3
        shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
        if self.num_classes:
            shapes |= {"head.weight": (self.num_classes, width), "head.bias": (self.num_classes,)}
        return shapes

    @property
    def num_params(self) -> int:
        """Exact number of parameters."""
        tables: Sequence[Mapping] = [self.stem_shapes(), *map(self.block_shapes, range(self.num_layers))]
        return sum(math.prod(shape) for table in tables for shape in table.values())

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image through every matrix product, attention included."""
        tokens, width = math.prod(self.grid), self.embed_dims
        total = tokens * width * self.in_channels * self.patch_size**2
        for stage, blocks in enumerate(self.stages):
            inner = sum(self.heads[block] for block in blocks) * self.head_dim
            total += 4 * tokens * width * inner + 2 * tokens * self.window_size**2 * inner
            total += len(blocks) * 2 * tokens * width * 4 * width
            if stage < 3:
                total += tokens // 4 * 4 * width * 2 * width
                tokens, width = tokens // 4, 2 * width
        return total + width * self.num_classes
