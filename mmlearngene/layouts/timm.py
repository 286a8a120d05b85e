"""timm's ``VisionTransformer``."""

from __future__ import annotations

from functools import partial

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
    """Arguments that make ``timm.models.vision_transformer.VisionTransformer`` the plain ViT of ``spec``."""
    return dict(
        img_size=spec.img_size,
        patch_size=spec.patch_size,
        in_chans=spec.in_channels,
        num_classes=spec.num_classes,
        embed_dim=spec.embed_dims,
        depth=spec.num_layers,
        num_heads=spec.num_heads,
        mlp_ratio=spec.mlp_ratio,
        class_token=spec.class_token,
        global_pool="token" if spec.pool == "cls" else "avg",
        fc_norm=spec.pool == "avg_norm",
        norm_layer=partial(nn.LayerNorm, eps=spec.norm_eps),
    )
