"""torchvision: ``VisionTransformer`` (``vit_b_16`` and its like)."""

from __future__ import annotations

from functools import partial

from torch import nn

from ..errors import LearngeneError
from ..vit.spec import ViTSpec
from .base import ANY, Key, Layout


def model_kwargs(spec: ViTSpec) -> dict:
    """Arguments that make ``torchvision.models.VisionTransformer`` the ViT of ``spec``, ``norm_layer`` aside."""
    return dict(
        image_size=spec.img_size[0],
        patch_size=spec.patch_size,
        num_layers=spec.num_layers,
        num_heads=spec.num_heads,
        hidden_dim=spec.embed_dims,
        mlp_dim=spec.feedforward_channels,
        num_classes=spec.num_classes,
    )


def _make(spec: ViTSpec) -> nn.Module:
    from torchvision.models import VisionTransformer  # when a model is made: not every environment has it

    return VisionTransformer(**model_kwargs(spec), norm_layer=partial(nn.LayerNorm, eps=spec.norm_eps))


def _read(vit: nn.Module, around: nn.Module | None) -> dict:
    if vit.representation_size is not None:
        raise LearngeneError("a hidden layer before the classifier (representation_size) is not known here")
    if not isinstance(vit.conv_proj, nn.Conv2d):
        raise LearngeneError("patches of several convolutions (conv_stem_configs) are not known here")
    layers = vit.encoder.layers
    return dict(
        num_heads=[layer.num_heads for layer in layers],
        norm_eps=layers[0].ln_1.eps,
        act="gelu",
        pool="cls",
        img_size=vit.image_size,
        post_norm=False,
        rope="none",
    )


def _cannot(spec: ViTSpec) -> str | None:
    if not spec.num_classes:
        return "no classifier"
    if spec.in_channels != 3:
        return f"images of {spec.in_channels} channels"
    if spec.leaves_pixels_out:
        return f"images of {spec.img_size} that patches of {spec.patch_size} do not divide"
    return f"an oblong image, {spec.img_size}" if spec.img_size[0] != spec.img_size[1] else None


_LAYER = "encoder.layers.encoder_layer_{}"
VIT = Layout(
    framework="torchvision",
    cls="torchvision.models.vision_transformer.VisionTransformer",
    keys={
        "patch_embed": "conv_proj",
        "cls_token": Key("class_token", lead=2),
        "pos_embed": Key("encoder.pos_embedding", lead=1),
        "norm1": f"{_LAYER}.ln_1",
        "qkv.weight": f"{_LAYER}.self_attention.in_proj_weight",
        "qkv.bias": f"{_LAYER}.self_attention.in_proj_bias",
        "proj": f"{_LAYER}.self_attention.out_proj",
        "norm2": f"{_LAYER}.ln_2",
        "fc1": f"{_LAYER}.mlp.0",
        "fc2": f"{_LAYER}.mlp.3",
        "norm": "encoder.ln",
        "norm@avg_norm": None,
        "head": "heads.head",
    },
    holds={"norm_eps": ANY, "class_token": (True,), "pool": ("cls",)},
    make=_make,
    read=_read,
    cannot=_cannot,
    ignore=frozenset({"norm_layer"}),
)

LAYOUTS = (VIT,)
