"""mmpretrain's ``SwinTransformer``, alone or in an ``ImageClassifier``; mmsegmentation's has the same names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from ..errors import LearngeneError
from ..swin import SwinSpec
from ..vit import ViTWeights
from .base import Layout

_BUFFERS = ("relative_position_index", "attn_mask")  # which follow from the window


class SwinLayout(Layout):
    """How a framework names the tensors of a plain Swin; a block's prefix has ``{}`` for its stage and number."""

    def layer_names(self, spec: SwinSpec) -> list[str]:
        """Stage and number of each block, as :meth:`key` takes them."""
        return [f"{stage}.blocks.{block}" for stage, depth in enumerate(spec.depths) for block in range(depth)]

    def from_state_dict(self, state: Mapping[str, Tensor], num_heads: None = None, **fields) -> ViTWeights:
        """Read a plain Swin's state dict.

        Args:
            state: the framework's names -> tensors; buffers are left out.
            num_heads: must be None, for the tables of relative positions show the heads.
            **fields: fields of the :class:`~mmlearngene.swin.SwinSpec` that no tensor shows (``img_size``,
                ``norm_eps``).

        Raises:
            LearngeneError: tensors are missing or left over, or ``num_heads`` is given.
        """
        return super().from_state_dict(
            {k: v for k, v in state.items() if not k.endswith(_BUFFERS)}, num_heads, **fields
        )

    def infer_spec(
        self, state: Mapping[str, Tensor], num_heads: int | Sequence[int] | None = None, **fields
    ) -> SwinSpec:
        """The spec of a plain Swin from the names and shapes of its state dict; see :meth:`from_state_dict`.

        The image is taken to be as large as one window of the last stage, as for every published Swin.

        Raises:
            LearngeneError: the state dict is not a Swin's, or ``num_heads`` is given.
        """
        if num_heads is not None:
            raise LearngeneError(f"num_heads={num_heads}: a Swin's tensors show its heads; leave num_heads out")
        pool = SwinSpec.pool
        number = re.compile(re.escape(self.block).replace(r"\{\}", r"(\d+)\.blocks\.(\d+)"))
        blocks = {(int(match[1]), int(match[2])) for key in state if (match := number.match(key))}
        depths = [sum(stage == block[0] for block in blocks) for stage in range(max(blocks)[0] + 1 if blocks else 0)]
        prefixes = [f"{stage}.blocks.{block}" for stage, depth in enumerate(depths) for block in range(depth)]
        needed = [self.key("patch_embed.weight", pool), self.key("proj.weight", pool, "0.blocks.0")]
        needed += [self.key("bias_table", pool, prefix) for prefix in prefixes or ["0.blocks.0"]]
        if missing := [key for key in needed if key not in state]:
            raise LearngeneError(
                f"this is not a Swin in {self.name}'s layout: {missing[0]!r} is missing; it starts with "
                f"{', '.join(list(state)[:3]) or 'none'}"
            )
        patch, proj, *tables = (state[key] for key in needed)
        heads = [table.shape[1] for table in tables]
        window, patch_size = (math.isqrt(tables[0].shape[0]) + 1) // 2, patch.shape[-1]
        head = state.get(self.key("head.weight", pool))
        inferred = dict(
            num_heads=heads,
            depths=depths,
            embed_dims=patch.shape[0],
            head_dim=proj.shape[1] // heads[0],
            window_size=window,
            patch_size=patch_size,
            img_size=8 * patch_size * window,
            in_channels=patch.shape[1],
            num_classes=0 if head is None else head.shape[0],
        )
        return SwinSpec(**{**inferred, **fields})


SWIN = SwinLayout(
    name="mmpretrain",
    modules={
        "patch_embed": "backbone.patch_embed.projection",
        "patch_norm": "backbone.patch_embed.norm",
        **{
            f"downsample{stage}.{part}": f"backbone.stages.{stage}.downsample.{part}"
            for stage in range(3)
            for part in ("norm", "reduction")
        },
        "head": "head.fc",
        "norm1": "norm1",
        "qkv": "attn.w_msa.qkv",
        "bias_table": "attn.w_msa.relative_position_bias_table",
        "proj": "attn.w_msa.proj",
        "norm2": "norm2",
        "fc1": "ffn.layers.0.0",
        "fc2": "ffn.layers.1",
    },
    block="backbone.stages.{}.",
    norms={"norm_avg": "backbone.norm3"},
)


def swin_cfg(spec: SwinSpec, **overrides) -> dict:
    """Config of the plain mmpretrain backbone of ``spec``; its output is (B, 8 embed_dims, H / 32, W / 32).

    Where the heads of a block are together not as wide as its stage, which mmpretrain's Swin does not allow, it is
    ``mmlearngene.ElasticSwin``.

    Args:
        spec: the Swin.
        **overrides: arguments of ``mmpretrain.SwinTransformer`` that replace or extend these, ``out_indices`` say.
    """
    heads = list(spec.num_heads)
    arch = dict(embed_dims=spec.embed_dims, depths=list(spec.depths), num_heads=heads if spec.is_ordinary else [1] * 4)
    cfg = dict(
        type="mmpretrain.SwinTransformer",
        arch=arch,
        img_size=spec.img_size,
        patch_size=spec.patch_size,
        in_channels=spec.in_channels,
        window_size=spec.window_size,
    )
    if not spec.is_ordinary:
        cfg |= dict(type="mmlearngene.ElasticSwin", num_heads=heads, head_dims=spec.head_dim)
    return {**cfg, **overrides}
