"""timm's ``VisionTransformer``."""

from __future__ import annotations

from functools import partial

from timm.layers import Attention
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from ..vit import ViTSpec
from .base import Layout

TIMM = Layout(
    name="timm",
    modules={
        "patch_embed": "patch_embed.proj",
        "cls_token": "cls_token",
        "pos_embed": "pos_embed",
        "head": "head",
        "norm1": "norm1",
        "qkv": "attn.qkv",
        "proj": "attn.proj",
        "norm2": "norm2",
        "fc1": "mlp.fc1",
        "fc2": "mlp.fc2",
    },
    block="blocks.{}.",
    norms={"avg_norm": "fc_norm", "norm_avg": "norm", "cls": "norm"},
)


def model_kwargs(spec: ViTSpec) -> dict:
    """Arguments that make ``timm.models.vision_transformer.VisionTransformer`` the plain ViT of ``spec``.

    They cannot say that heads differ from layer to layer or are together not as wide as ``embed_dims``: see
    :func:`build`.
    """
    return dict(
        img_size=spec.img_size,
        patch_size=spec.patch_size,
        in_chans=spec.in_channels,
        num_classes=spec.num_classes,
        embed_dim=spec.embed_dims,
        depth=spec.num_layers,
        num_heads=spec.num_heads if spec.is_ordinary else 1,
        mlp_ratio=spec.mlp_ratio,
        class_token=spec.class_token,
        global_pool="token" if spec.pool == "cls" else "avg",
        fc_norm=spec.pool == "avg_norm",
        norm_layer=partial(nn.LayerNorm, eps=spec.norm_eps),
    )


def build(spec: ViTSpec) -> VisionTransformer:
    """timm's ViT of ``spec``, with its own start values; layers may have any number of heads.

    timm's ``Attention`` allows heads that are together wider or narrower than ``embed_dims``, its ``VisionTransformer``
    has no argument for it.
    """
    model = VisionTransformer(**model_kwargs(spec))
    if not spec.is_ordinary:
        for block, heads in zip(model.blocks, spec.heads, strict=True):
            block.attn = Attention(spec.embed_dims, heads, attn_head_dim=spec.head_dim, qkv_bias=True)
    return model
