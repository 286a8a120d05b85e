"""A plain Swin whose blocks may have any number of heads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmpretrain.models import SwinTransformer
from mmpretrain.models.utils.attention import WindowMSA
from torch import Tensor, nn

from ..errors import LearngeneError
from ..registry import MODELS


class ElasticWindowMSA(WindowMSA):
    """mmpretrain's window attention with heads that are together wider or narrower than ``embed_dims``.

    Args:
        embed_dims: width of the stage.
        window_size: see ``WindowMSA``.
        num_heads: attention heads.
        head_dims: channels of a head.
        **kwargs: all other arguments of ``WindowMSA``.
    """

    def __init__(self, embed_dims: int, window_size: tuple[int, int], num_heads: int, head_dims: int, **kwargs) -> None:
        super().__init__(embed_dims, window_size, num_heads, **kwargs)
        self.scale = kwargs.get("qk_scale") or head_dims**-0.5
        self.qkv = nn.Linear(embed_dims, 3 * num_heads * head_dims, bias=self.qkv.bias is not None)
        self.proj = nn.Linear(num_heads * head_dims, embed_dims)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention within windows; see ``WindowMSA``, which takes the heads' width from ``embed_dims``.

        Args:
            x: (images x windows, tokens, embed_dims).
            mask: (windows, tokens, tokens), added to the logits of shifted windows.
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        logits = (self.scale * q) @ k.mT + bias
        if mask is not None:
            logits = (logits.unflatten(0, (-1, len(mask))) + mask[:, None]).flatten(0, 1)
        attention = self.attn_drop(torch.softmax(logits, -1))
        return self.proj_drop(self.proj((attention @ v).transpose(1, 2).flatten(2)))


@MODELS.register_module()
class ElasticSwin(SwinTransformer):
    """mmpretrain's ``SwinTransformer`` with heads that are together wider or narrower than their stage.

    Everything else is inherited: with heads as wide as the stages it is the plain Swin and loads and saves the very
    same state dicts. In mmsegmentation use it as ``mmlearngene.ElasticSwin`` with ``out_indices=(0, 1, 2, 3)``.

    Args:
        arch: see ``SwinTransformer``.
        num_heads: heads of each stage, or one number a block; those of ``arch`` when omitted.
        head_dims: channels of a head; ``embed_dims`` over the first stage's heads of ``arch`` when omitted.
        **kwargs: all other arguments of ``SwinTransformer`` but ``stage_cfgs``, which set the heads.

    Raises:
        LearngeneError: as many heads as neither stages nor blocks.
    """

    def __init__(
        self,
        arch: str | dict = "tiny",
        num_heads: Sequence[int] | None = None,
        head_dims: int | None = None,
        **kwargs,
    ) -> None:
        arch = self.arch_zoo[arch.lower()] if isinstance(arch, str) else arch
        depths = arch["depths"]
        heads = list(num_heads or arch["num_heads"])
        head_dims = head_dims or arch["embed_dims"] // arch["num_heads"][0]
        if len(heads) == len(depths):
            heads = [count for count, depth in zip(heads, depths, strict=True) for _ in range(depth)]
        if len(heads) != sum(depths):
            raise LearngeneError(
                f"num_heads={heads} has {len(heads)} entries for {len(depths)} stages of {sum(depths)} blocks"
            )
        attn = dict(window_msa=ElasticWindowMSA, head_dims=head_dims)
        remaining = iter(heads)
        stages = [
            dict(block_cfgs=[dict(num_heads=next(remaining), attn_cfgs=attn) for _ in range(depth)]) for depth in depths
        ]
        super().__init__(arch, stage_cfgs=stages, **kwargs)
        self.num_heads = heads  # of each block, not those of the arch
