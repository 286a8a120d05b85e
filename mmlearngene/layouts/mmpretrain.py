"""mmpretrain's ``VisionTransformer``, alone as a backbone or inside an ``ImageClassifier`` with a ``LinearClsHead``."""

from __future__ import annotations

from ..vit import ViTSpec
from .base import Layout

MMPRETRAIN = Layout(
    name="mmpretrain",
    modules={
        "patch_embed": "backbone.patch_embed.projection",
        "cls_token": "backbone.cls_token",
        "pos_embed": "backbone.pos_embed",
        "head": "head.fc",
        "norm1": "ln1",
        "qkv": "attn.qkv",
        "proj": "attn.proj",
        "norm2": "ln2",
        "fc1": "ffn.layers.0.0",
        "fc2": "ffn.layers.1",
        "logits.0": "attn.logits.0",  # of PEGViT only
        "logits.2": "attn.logits.2",
        "values.0": "attn.values.0",
        "values.2": "attn.values.2",
    },
    block="backbone.layers.{}.",
    norms={"avg_norm": "backbone.ln2", "norm_avg": "backbone.ln1", "cls": "backbone.ln1"},
)


def backbone_cfg(spec: ViTSpec, **overrides) -> dict:
    """Config of the plain mmpretrain backbone of ``spec``, pooling included.

    Where heads differ from layer to layer or are together not as wide as ``embed_dims``, which mmpretrain's ViT does
    not allow, it is ``mmlearngene.ElasticViT``.

    Args:
        spec: the ViT.
        **overrides: arguments of ``mmpretrain.VisionTransformer`` that replace or extend these, ``drop_path_rate`` say.
    """
    out_type = {"avg_norm": "avg_featmap", "norm_avg": "featmap", "cls": "cls_token"}[spec.pool]
    cfg = dict(
        type="mmpretrain.VisionTransformer",
        arch=dict(
            embed_dims=spec.embed_dims,
            num_layers=spec.num_layers,
            num_heads=spec.num_heads if spec.is_ordinary else 1,
            feedforward_channels=spec.feedforward_channels,
        ),
        img_size=spec.img_size,
        patch_size=spec.patch_size,
        in_channels=spec.in_channels,
        norm_cfg=dict(type="LN", eps=spec.norm_eps),
        with_cls_token=spec.class_token,
        out_type=out_type,
        final_norm=spec.pool != "avg_norm",
    )
    if not spec.is_ordinary:
        cfg |= dict(type="mmlearngene.ElasticViT", num_heads=list(spec.heads), head_dims=spec.head_dim)
    return {**cfg, **overrides}


def classifier_cfg(spec: ViTSpec, backbone: dict | None = None, head: dict | None = None, **overrides) -> dict:
    """Config of the plain ``mmpretrain.ImageClassifier`` of ``spec``.

    Args:
        spec: the ViT; its classes give the head.
        backbone: overrides of :func:`backbone_cfg`.
        head: overrides of the ``LinearClsHead`` (its ``loss``, say).
        **overrides: further arguments of the classifier (``data_preprocessor``, ``train_cfg``, ``init_cfg``).
    """
    default_head = dict(type="mmpretrain.LinearClsHead", num_classes=spec.num_classes, in_channels=spec.embed_dims)
    return dict(
        type="mmpretrain.ImageClassifier",
        backbone=backbone_cfg(spec, **(backbone or {})),
        neck=dict(type="mmpretrain.GlobalAveragePooling") if spec.pool == "norm_avg" else None,
        head={**default_head, **(head or {})},
        **overrides,
    )
