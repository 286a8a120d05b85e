"""PEG's descendant with its maps kept, as in the paper (Wang, Yang, Chen, Geng, ICML 2024)."""

from __future__ import annotations

from mmengine.model import BaseModule
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor, nn

from ..registry import MODELS
from .elastic_vit import ElasticViT


class PEGAttention(BaseModule):
    """Attention of few learngene heads whose logits and values are expanded, by two maps, to the heads of a layer.

    The maps are Linear-ReLU-Linear over the axis of heads, with twice the learngene heads as hidden units.

    Args:
        attn: the attention that it takes the place of; projection, dropouts and layer scale are taken over.
        learngene_heads: heads of q, k and v.
    """

    def __init__(self, attn: MultiheadAttention, learngene_heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dims = attn.num_heads, attn.head_dims
        self.learngene_heads = learngene_heads
        bias = attn.qkv.bias is not None
        self.qkv = nn.Linear(attn.input_dims, 3 * learngene_heads * self.head_dims, bias=bias)
        self.logits = self._map()
        self.values = self._map()
        self.attn_drop = nn.Dropout(attn.attn_drop)
        self.proj, self.proj_drop, self.gamma1, self.out_drop = attn.proj, attn.proj_drop, attn.gamma1, attn.out_drop

    def _map(self) -> nn.Sequential:
        hidden = 2 * self.learngene_heads
        return nn.Sequential(nn.Linear(self.learngene_heads, hidden), nn.ReLU(), nn.Linear(hidden, self.num_heads))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, embed_dims) -> (B, N, embed_dims)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.learngene_heads, self.head_dims))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, head_dims)
        logits = self.logits((q @ k.mT * self.head_dims**-0.5).movedim(1, -1)).movedim(-1, 1)
        values = self.values(v.movedim(1, -1)).movedim(-1, 1)
        x = self.attn_drop(logits.softmax(-1)) @ values
        x = self.proj(x.transpose(1, 2).flatten(2))
        return self.out_drop(self.gamma1(self.proj_drop(x)))


@MODELS.register_module()
class PEGViT(ElasticViT):
    """A ViT with :class:`PEGAttention` in every layer; everything else is :class:`ElasticViT`'s.

    A PEG learngene initialises it like any other backbone, maps included.

    Args:
        learngene_heads: the learngene's heads of q, k and v.
        *args: see :class:`ElasticViT`.
        **kwargs: see :class:`ElasticViT`.
    """

    expand_options = dict(form="maps")  # what initialisation asks of the learngene

    def __init__(self, learngene_heads: int, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        for layer in self.layers:
            layer.attn = PEGAttention(layer.attn, learngene_heads)
        if self.frozen_stages > 0:
            self._freeze_stages()
