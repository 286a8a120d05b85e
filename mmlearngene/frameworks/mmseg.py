"""mmsegmentation's own ``VisionTransformer`` and ``SwinTransformer``: backbones that give feature maps."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from ..vit.spec import ViTSpec
from . import mmpretrain
from .base import ANY, Key, Layout
from .modules import act_name, known, ratio_of


def backbone_cfg(spec: ViTSpec) -> dict:
    """Config of the mmsegmentation backbone of ``spec``."""
    return _vit_cfg(spec) if spec.depths is None else _swin_cfg(spec)


def _make(spec: ViTSpec) -> nn.Module:
    from ..registry import MODELS

    return MODELS.build(backbone_cfg(spec))


def _vit_cfg(spec: ViTSpec) -> dict:
    return dict(
        type="mmseg.VisionTransformer",
        img_size=spec.img_size,
        patch_size=spec.patch_size,
        in_channels=spec.in_channels,
        embed_dims=spec.embed_dims,
        num_layers=spec.num_layers,
        num_heads=spec.num_heads,
        mlp_ratio=spec.feedforward_channels // spec.embed_dims,
        qkv_bias=spec.qkv_bias == "all",
        with_cls_token=spec.class_token,
        norm_cfg=mmpretrain._norm_cfg(spec),
        act_cfg=mmpretrain._ACTS[spec.act],
        patch_norm=spec.patch_norm,
        patch_bias=spec.patch_bias,
        pre_norm=spec.pre_norm,
        final_norm=spec.final_norm,
    )


def _read_vit(vit: nn.Module, around: nn.Module | None) -> dict:
    layer = vit.layers[0]
    known(type(layer.norm1).__name__, ("LayerNorm",), "norm")
    return dict(
        num_heads=[layer.attn.attn.num_heads for layer in vit.layers],
        norm_eps=layer.norm1.eps,
        act=act_name(layer.ffn.layers[0][1]),
        img_size=tuple(vit.img_size),
        class_token=vit.with_cls_token,
        pool=None,
        post_norm=False,
        rope="none",
    )


def _vit_cannot(spec: ViTSpec) -> str | None:
    if spec.num_classes:
        return "a classifier; use num_classes=0"
    if spec.feedforward_channels % spec.embed_dims:
        return f"a hidden width of {spec.feedforward_channels}"
    if (spec.qkv_bias == "all") != spec.proj_bias:
        return f"qkv_bias = {spec.qkv_bias} with proj_bias = {spec.proj_bias}"
    return None


VIT = Layout(
    framework="mmseg",
    cls="mmseg.models.backbones.vit.VisionTransformer",
    inside="backbone",
    keys={
        "patch_embed": "patch_embed.projection",
        "patch_norm": "patch_embed.norm",
        "cls_token": Key("cls_token", lead=2),
        "pos_embed": Key("pos_embed", lead=1),
        "norm_pre": "ln_pre",
        "norm1": "layers.{}.ln1",
        "qkv.weight": "layers.{}.attn.attn.in_proj_weight",
        "qkv.bias": "layers.{}.attn.attn.in_proj_bias",
        "proj": "layers.{}.attn.attn.out_proj",
        "norm2": "layers.{}.ln2",
        "fc1": "layers.{}.ffn.layers.0.0",
        "fc2": "layers.{}.ffn.layers.1",
        "norm": "ln1",
        "norm@avg_norm": None,
    },
    holds={
        **dict.fromkeys(
            (
                "class_token", "norm_eps", "act", "pre_norm", "patch_norm", "patch_bias", "final_norm", "proj_bias",
            ),
            ANY,
        ),
        "qkv_bias": ("all", "none"),
        "pool": ("norm_avg", "cls"),
    },
    # a class token that stays out of the layers has a parameter and a position all the same
    dead=(r"cls_token",),
    extra=mmpretrain._EXTRA,
    spare_positions=lambda spec: int(not spec.class_token),
    make=_make,
    read=_read_vit,
    ignore=mmpretrain._IGNORE | {"patch_size"},
    cannot=_vit_cannot,
)  # fmt: skip


def _swin_cfg(spec: ViTSpec) -> dict:
    return dict(
        type="mmseg.SwinTransformer",
        in_channels=spec.in_channels,
        embed_dims=spec.embed_dims,
        patch_size=spec.patch_size,
        window_size=spec.window_size,
        mlp_ratio=ratio_of(spec.feedforward_channels, spec.embed_dims),
        depths=spec.depths,
        num_heads=[spec.heads[layers[0]] for layers in spec.stages],
        strides=(spec.patch_size, 2, 2, 2),
        qkv_bias=True,
    )


SWIN = replace(
    mmpretrain.SWIN,
    framework="mmseg",
    cls="mmseg.models.backbones.swin.SwinTransformer",
    heads={},
    odd_head=None,
    holds={name: value for name, value in mmpretrain.SWIN.holds.items() if name != "is_ordinary"},
    make=_make,
    cannot=lambda spec: "a classifier; use num_classes=0" if spec.num_classes else mmpretrain.SWIN.cannot(spec),
)

LAYOUTS = (VIT, SWIN)
