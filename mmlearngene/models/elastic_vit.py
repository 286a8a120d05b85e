"""A plain ViT whose layers may have any number of heads."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.models import VisionTransformer
from torch import nn

from ..errors import LearngeneError
from ..registry import MODELS


@MODELS.register_module()
class ElasticViT(VisionTransformer):
    """mmpretrain's ``VisionTransformer`` with heads that are together wider or narrower than ``embed_dims``.

    Everything else is inherited: with ``num_heads * head_dims == embed_dims`` it is the plain ViT and loads and saves
    the very same state dicts. In mmsegmentation use it as ``mmlearngene.ElasticViT`` with ``out_type='featmap'``.

    Args:
        arch: see ``VisionTransformer``.
        num_heads: heads of every layer, or one number a layer; those of ``arch`` when omitted.
        head_dims: channels of a head; ``embed_dims`` over the heads of ``arch`` when omitted.
        **kwargs: all other arguments of ``VisionTransformer``.

    Raises:
        LearngeneError: ``num_heads`` is a list of another length than the ViT.
    """

    def __init__(
        self,
        arch: str | dict = "base",
        num_heads: int | Sequence[int] | None = None,
        head_dims: int | None = None,
        **kwargs,
    ) -> None:
        super().__init__(arch, **kwargs)
        num_heads = num_heads or self.arch_settings["num_heads"]
        head_dims = head_dims or self.embed_dims // self.arch_settings["num_heads"]
        heads = [num_heads] * self.num_layers if isinstance(num_heads, int) else list(num_heads)
        if len(heads) != self.num_layers:
            raise LearngeneError(f"num_heads={heads} has {len(heads)} entries for {self.num_layers} layers")
        for layer, count in zip(self.layers, heads, strict=True):
            attn, inner = layer.attn, count * head_dims
            # MultiheadAttention reads these three, and merges its heads to what it calls embed_dims
            attn.num_heads, attn.head_dims, attn.embed_dims = count, head_dims, inner
            attn.qkv = nn.Linear(self.embed_dims, 3 * inner, bias=attn.qkv.bias is not None)
            attn.proj = nn.Linear(inner, self.embed_dims)
        if self.frozen_stages > 0:
            self._freeze_stages()
