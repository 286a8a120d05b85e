"""Hugging Face transformers: ViT, DeiT, ViTMAE, DINOv2 (with registers), DINOv3, CLIP, SigLIP and Swin.

Keys are those of the live models; files on disk are left to ``from_pretrained`` and ``save_pretrained``.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import partial

from torch import nn

from ..errors import LearngeneError
from ..vit.spec import ViTSpec
from .base import ANY, Key, Layout, small_grid
from .modules import act_name, ratio_of

_ACTS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "quick_gelu": "quick_gelu", "relu": "relu", "silu": "silu"}


def _class(name: str) -> type:
    """A class of transformers, imported when a model is made."""
    return getattr(importlib.import_module("transformers"), name)


def _attention(where: str, out: str) -> dict:
    """Query, key, value and output projection below ``where``."""
    parts = {kind: tuple(f"{where}.{part}_proj.{kind}" for part in "qkv") for kind in ("weight", "bias")}
    return {"qkv.weight": parts["weight"], "qkv.bias": parts["bias"], "proj": f"{where}.{out}"}


def _config(spec: ViTSpec, **own) -> dict:
    """Entries of a config that most classes share."""
    height, width = spec.img_size
    return dict(
        hidden_size=spec.embed_dims,
        num_hidden_layers=spec.num_layers,
        num_attention_heads=spec.num_heads,
        layer_norm_eps=spec.norm_eps,
        hidden_act=_ACTS[spec.act],
        image_size=height if height == width else [height, width],
        patch_size=spec.patch_size,
        num_channels=spec.in_channels,
        **own,
    )


def _common(vit: nn.Module, act: nn.Module) -> dict:
    """What the config says and no tensor shows."""
    config = vit.config
    return dict(
        num_heads=config.num_attention_heads,
        norm_eps=config.layer_norm_eps,
        act=act_name(act),
        img_size=config.image_size if isinstance(config.image_size, int) else tuple(config.image_size),
        post_norm=False,
        rope="none",
    )


def _has_classifier(around: nn.Module | None) -> bool:
    return any(hasattr(around, name) for name in ("classifier", "cls_classifier"))


def _oblong(spec: ViTSpec) -> str | None:
    return f"an oblong image, {spec.img_size}" if spec.img_size[0] != spec.img_size[1] else None


_ANY_OF_PLAIN = dict.fromkeys(("norm_eps", "act"), ANY)

# ---------------------------------------------------------------------- ViT, DeiT and ViTMAE


def _make_vit(spec: ViTSpec, name: str = "ViT", classifier: str = "ForImageClassification") -> nn.Module:
    config = _class(f"{name}Config")(
        **_config(spec, intermediate_size=spec.feedforward_channels, qkv_bias=spec.qkv_bias == "all"),
        num_labels=spec.num_classes,
    )
    if spec.num_classes:
        return _class(name + classifier)(config)
    return _class(f"{name}Model")(config, **(dict(add_pooling_layer=False) if name in ("ViT", "DeiT") else {}))


def _read_vit(vit: nn.Module, around: nn.Module | None) -> dict:
    return dict(_common(vit, vit.layers[0].mlp.activation_fn), pool="cls" if _has_classifier(around) else None)


VIT = Layout(
    framework="hf",
    cls="transformers.models.vit.modeling_vit.ViTModel",
    inside="vit",
    heads={"head": ("classifier",)},
    keys={
        "patch_embed": "embeddings.patch_embeddings.projection",
        "cls_token": Key("embeddings.cls_token", lead=2),
        "pos_embed": Key("embeddings.position_embeddings", lead=1),
        "norm1": "layers.{}.layernorm_before",
        **_attention("layers.{}.attention", "o_proj"),
        "norm2": "layers.{}.layernorm_after",
        "fc1": "layers.{}.mlp.fc1",
        "fc2": "layers.{}.mlp.fc2",
        "norm": "layernorm",
        "norm@avg_norm": None,
    },
    holds={**_ANY_OF_PLAIN, "class_token": (True,), "pool": ("cls",), "qkv_bias": ("all", "none")},
    dead=(r"embeddings\.mask_token",),
    extra=(r"pooler\..*",),
    make=_make_vit,
    read=_read_vit,
)
DEIT = replace(
    VIT,
    cls="transformers.models.deit.modeling_deit.DeiTModel",
    inside="deit",
    heads={"head": ("cls_classifier",), "head_dist": ("distillation_classifier",)},
    keys={**VIT.keys, "dist_token": Key("embeddings.distillation_token", lead=2)},
    holds={**VIT.holds, "dist_token": (True,)},
    make=partial(_make_vit, name="DeiT", classifier="ForImageClassificationWithTeacher"),
)
MAE = replace(
    VIT,
    cls="transformers.models.vit_mae.modeling_vit_mae.ViTMAEModel",
    heads={},
    make=partial(_make_vit, name="ViTMAE"),
    cannot=lambda spec: "a classifier" if spec.num_classes else None,
)

# ---------------------------------------------------------------------- DINOv2


def _dinov2_hidden(width: int, ratio: int, gated: bool) -> int:
    return (int(width * ratio * 2 / 3) + 7) // 8 * 8 if gated else width * ratio


def _dinov2_ratio(spec: ViTSpec) -> int | None:
    """The ``mlp_ratio``, a whole number, that makes the hidden width of a spec; None if there is none."""
    fits = (
        r for r in range(1, 17) if _dinov2_hidden(spec.embed_dims, r, spec.mlp != "mlp") == spec.feedforward_channels
    )
    return next(fits, None)


def _dinov2_cannot(spec: ViTSpec) -> str | None:
    if spec.num_classes:
        return "a classifier on the class token alone; use num_classes=0"
    return f"a hidden width of {spec.feedforward_channels}" if _dinov2_ratio(spec) is None else _oblong(spec)


def _make_dinov2(spec: ViTSpec, name: str = "Dinov2") -> nn.Module:
    registers = {} if name == "Dinov2" else dict(num_register_tokens=spec.reg_tokens)
    config = _class(f"{name}Config")(
        **_config(spec, qkv_bias=spec.qkv_bias == "all", layerscale_value=spec.init_values),
        mlp_ratio=_dinov2_ratio(spec) or 4,
        use_swiglu_ffn=spec.mlp != "mlp",
        **registers,
    )
    return _class(f"{name}Model")(config)


def _read_dinov2(vit: nn.Module, around: nn.Module | None) -> dict:
    mlp = vit.encoder.layer[0].mlp
    return dict(
        _common(vit, getattr(mlp, "activation_fn", None) or mlp.act_fn),
        pool=None,
        init_values=vit.config.layerscale_value,
    )


DINOV2 = Layout(
    framework="hf",
    cls="transformers.models.dinov2.modeling_dinov2.Dinov2Model",
    inside="dinov2",
    keys={
        "patch_embed": "embeddings.patch_embeddings.projection",
        "cls_token": Key("embeddings.cls_token", lead=2),
        "pos_embed": Key("embeddings.position_embeddings", lead=1),
        "norm1": "encoder.layer.{}.norm1",
        **_attention("encoder.layer.{}.attention", "o_proj"),
        "ls1.gamma": "encoder.layer.{}.layer_scale1.lambda1",
        "norm2": "encoder.layer.{}.norm2",
        "fc1": "encoder.layer.{}.mlp.fc1",
        "fc2": "encoder.layer.{}.mlp.fc2",
        "ls2.gamma": "encoder.layer.{}.layer_scale2.lambda1",
        "norm": "layernorm",
        "norm@avg_norm": None,
    },
    holds={
        **_ANY_OF_PLAIN,
        "class_token": (True,),
        "init_values": (True,),
        "pool": ("cls", "norm_avg"),
        "qkv_bias": ("all", "none"),
    },
    dead=(r"embeddings\.mask_token",),
    make=_make_dinov2,
    read=_read_dinov2,
    cannot=_dinov2_cannot,
)
_GATED = {
    "fc1": ("encoder.layer.{}.mlp.gate_proj", "encoder.layer.{}.mlp.up_proj"),
    "fc2": "encoder.layer.{}.mlp.down_proj",
}
_HOLDS_GATED = {"mlp": ("swiglu", "swiglu_packed"), "act": ANY}
DINOV2_GATED = replace(DINOV2, keys={**DINOV2.keys, **_GATED}, holds={**DINOV2.holds, **_HOLDS_GATED})
_WITH_REGISTERS = dict(
    cls="transformers.models.dinov2_with_registers.modeling_dinov2_with_registers.Dinov2WithRegistersModel",
    inside="dinov2_with_registers",
    make=partial(_make_dinov2, name="Dinov2WithRegisters"),
    spare_positions=lambda spec: 1,  # the class token's, which is added to it
)
_REGISTERS = Key("embeddings.register_tokens", lead=1)
DINOV2_REGISTERS = replace(
    DINOV2,
    keys={**DINOV2.keys, "reg_tokens": _REGISTERS},
    holds={**DINOV2.holds, "reg_tokens": ANY, "no_embed_class": (True,)},
    **_WITH_REGISTERS,
)
DINOV2_REGISTERS_GATED = replace(
    DINOV2_REGISTERS, keys={**DINOV2_REGISTERS.keys, **_GATED}, holds={**DINOV2_REGISTERS.holds, **_HOLDS_GATED}
)

# ---------------------------------------------------------------------- DINOv3


def _make_dinov3(spec: ViTSpec) -> nn.Module:
    config = _class("DINOv3ViTConfig")(
        **_config(spec, intermediate_size=spec.feedforward_channels),
        query_bias=spec.qkv_bias != "none",
        key_bias=spec.qkv_bias == "all",
        value_bias=spec.qkv_bias != "none",
        proj_bias=spec.proj_bias,
        mlp_bias=spec.mlp_bias,
        layerscale_value=spec.init_values,
        use_gated_mlp=spec.mlp != "mlp",
        num_register_tokens=spec.reg_tokens,
        rope_theta=float(spec.rope_temperature),
        pos_embed_rescale=None,
    )
    return _class("DINOv3ViTModel")(config)


def _read_dinov3(vit: nn.Module, around: nn.Module | None) -> dict:
    config = vit.config
    if (config.query_bias, config.value_bias) != (config.value_bias, config.query_bias):
        raise LearngeneError("a bias of queries without one of values (query_bias, value_bias) is not known here")
    return dict(
        _common(vit, vit.model.layer[0].mlp.act_fn),
        pool=None,
        init_values=config.layerscale_value,
        rope="dinov3",
        rope_temperature=float(config.rope_theta),
        rope_half=True,
    )


DINOV3 = Layout(
    framework="hf",
    cls="transformers.models.dinov3_vit.modeling_dinov3_vit.DINOv3ViTModel",
    keys={
        "patch_embed": "embeddings.patch_embeddings",
        "cls_token": Key("embeddings.cls_token", lead=2),
        "reg_tokens": Key("embeddings.register_tokens", lead=1),
        "norm1": "model.layer.{}.norm1",
        **_attention("model.layer.{}.attention", "o_proj"),
        "ls1.gamma": "model.layer.{}.layer_scale1.lambda1",
        "norm2": "model.layer.{}.norm2",
        "fc1": "model.layer.{}.mlp.up_proj",
        "fc2": "model.layer.{}.mlp.down_proj",
        "ls2.gamma": "model.layer.{}.layer_scale2.lambda1",
        "norm": "norm",
        "norm@avg_norm": None,
    },
    holds={
        **_ANY_OF_PLAIN,
        **dict.fromkeys(("qkv_bias", "proj_bias", "mlp_bias", "reg_tokens", "rope_temperature"), ANY),
        "class_token": (True,),
        "init_values": (True,),
        "pos_embed": ("none",),
        "rope": ("dinov3",),
        "rope_half": (True,),
        "pool": ("cls", "norm_avg"),
    },
    dead=(r"embeddings\.mask_token", r"embeddings\.register_tokens"),
    make=_make_dinov3,
    read=_read_dinov3,
    cannot=lambda spec: "a classifier; use num_classes=0" if spec.num_classes else None,
)
DINOV3_GATED = replace(
    DINOV3,
    keys={**DINOV3.keys, "fc1": ("model.layer.{}.mlp.gate_proj", "model.layer.{}.mlp.up_proj")},
    holds={**DINOV3.holds, **_HOLDS_GATED},
)

# ---------------------------------------------------------------------- CLIP and SigLIP


def _tokens_only(spec: ViTSpec) -> str | None:
    if spec.num_classes:
        return "a classifier on these tokens; use num_classes=0"
    return _oblong(spec)


def _make_clip(spec: ViTSpec) -> nn.Module:
    config = _class("CLIPVisionConfig")(**_config(spec, intermediate_size=spec.feedforward_channels))
    return _class("CLIPVisionModel")(config)


def _read_clip(vit: nn.Module, around: nn.Module | None) -> dict:
    return dict(_common(vit, vit.encoder.layers[0].mlp.activation_fn), pool="cls")


_ENCODER = {
    "patch_embed": "embeddings.patch_embedding",
    "pos_embed": "embeddings.position_embedding.weight",
    "norm1": "encoder.layers.{}.layer_norm1",
    **_attention("encoder.layers.{}.self_attn", "out_proj"),
    "norm2": "encoder.layers.{}.layer_norm2",
    "fc1": "encoder.layers.{}.mlp.fc1",
    "fc2": "encoder.layers.{}.mlp.fc2",
    "norm": "post_layernorm",
    "norm@avg_norm": None,
}
CLIP = Layout(
    framework="hf",
    cls="transformers.models.clip.modeling_clip.CLIPVisionModel",
    inside="vision_model",
    keys={**_ENCODER, "cls_token": "embeddings.class_embedding", "norm_pre": "pre_layrnorm"},
    holds={**_ANY_OF_PLAIN, "class_token": (True,), "pre_norm": (True,), "patch_bias": (False,), "pool": ("cls",)},
    make=_make_clip,
    read=_read_clip,
    cannot=_tokens_only,
    norms_pooled_alone=True,
)


def _make_siglip(spec: ViTSpec) -> nn.Module:
    config = _class("SiglipVisionConfig")(
        **_config(spec, intermediate_size=spec.feedforward_channels), vision_use_head=spec.pool == "map"
    )
    if not spec.num_classes:
        return _class("SiglipVisionModel")(config)
    whole = _class("SiglipConfig")(vision_config=config.to_dict(), text_config=dict(hidden_size=8))
    whole.num_labels = spec.num_classes
    return _class("SiglipForImageClassification")(whole)


def _read_siglip(vit: nn.Module, around: nn.Module | None) -> dict:
    if _has_classifier(around):
        raise LearngeneError("its classifier takes the mean of the tokens")
    return dict(_common(vit, vit.encoder.layers[0].mlp.activation_fn), pool="map" if vit.use_head else None)


def _read_siglip_mean(vit: nn.Module, around: nn.Module | None) -> dict:
    return dict(
        _common(vit, vit.encoder.layers[0].mlp.activation_fn), pool="norm_avg" if _has_classifier(around) else None
    )


SIGLIP = Layout(
    framework="hf",
    cls="transformers.models.siglip.modeling_siglip.SiglipVisionModel",
    inside="vision_model",
    keys={
        **_ENCODER,
        "attn_pool.latent": Key("head.probe", lead=2),
        "attn_pool.qkv.weight": "head.attention.in_proj_weight",
        "attn_pool.qkv.bias": "head.attention.in_proj_bias",
        "attn_pool.proj": "head.attention.out_proj",
        "attn_pool.norm": "head.layernorm",
        "attn_pool.fc1": "head.mlp.fc1",
        "attn_pool.fc2": "head.mlp.fc2",
    },
    holds={**_ANY_OF_PLAIN, "pool": ("map", "norm_avg")},
    make=_make_siglip,
    read=_read_siglip,
    cannot=_tokens_only,
)
SIGLIP_MEAN = replace(
    SIGLIP,
    heads={"head": ("classifier",)},
    keys=_ENCODER,
    holds={**_ANY_OF_PLAIN, "pool": ("norm_avg",)},
    read=_read_siglip_mean,
    dead=(r"head\..*",),  # attention pooling, which the classifier does not take
    cannot=_oblong,
    ignore=frozenset({"use_head"}),
)

# ---------------------------------------------------------------------- Swin


def _make_swin(spec: ViTSpec) -> nn.Module:
    height, width = spec.img_size
    config = _class("SwinConfig")(
        image_size=height if height == width else [height, width],
        patch_size=spec.patch_size,
        num_channels=spec.in_channels,
        embed_dim=spec.embed_dims,
        depths=list(spec.depths),
        num_heads=[spec.heads[layers[0]] for layers in spec.stages],
        window_size=spec.window_size,
        mlp_ratio=ratio_of(spec.feedforward_channels, spec.embed_dims),
        qkv_bias=spec.qkv_bias == "all",
        hidden_act=_ACTS[spec.act],
        layer_norm_eps=spec.norm_eps,
        drop_path_rate=0.0,
        num_labels=spec.num_classes,
    )
    return _class("SwinForImageClassification")(config) if spec.num_classes else _class("SwinModel")(config)


def _read_swin(vit: nn.Module, around: nn.Module | None) -> dict:
    fields = _common(vit, vit.encoder.layers[0].blocks[0].mlp.activation_fn)
    if type(around).__name__ == "SwinBackbone":
        config = vit.config
        side = config.image_size if isinstance(config.image_size, int) else min(config.image_size)
        grids = [side // config.patch_size >> stage for stage in range(len(config.depths))]
        if any(grid == config.window_size and depth > 1 for grid, depth in zip(grids, config.depths, strict=True)):
            raise LearngeneError(
                f"windows of {config.window_size} that are shifted also on a grid of one window (always_partition) are "
                "not known here; expected the SwinModel inside, which shifts none there"
            )
    return {**fields, "pool": "norm_avg" if _has_classifier(around) else None}


def _swin_cannot(spec: ViTSpec) -> str | None:
    if any(len({spec.heads[layer] for layer in layers}) > 1 for layers in spec.stages):
        return f"heads that differ within a stage, {spec.num_heads}"
    return small_grid(spec)


_SWIN_BLOCK = "encoder.layers.{stage}.blocks.{block}"
SWIN = Layout(
    framework="hf",
    cls="transformers.models.swin.modeling_swin.SwinModel",
    inside="swin",
    heads={"head": ("classifier",)},
    keys={
        "patch_embed": "embeddings.patch_embeddings.projection",
        "patch_norm": "embeddings.norm",
        "norm1": f"{_SWIN_BLOCK}.layernorm_before",
        **_attention(f"{_SWIN_BLOCK}.attention", "o_proj"),
        "bias_table": f"{_SWIN_BLOCK}.attention.relative_position_bias.relative_position_bias_table",
        "norm2": f"{_SWIN_BLOCK}.layernorm_after",
        "fc1": f"{_SWIN_BLOCK}.mlp.fc1",
        "fc2": f"{_SWIN_BLOCK}.mlp.fc2",
        "downsample.norm": Key("encoder.layers.{stage}.downsample.norm", order=(2, 1, 0)),
        "downsample.reduction": Key("encoder.layers.{stage}.downsample.reduction", order=(0, 3, 2, 1)),
        "norm": "layernorm",
    },
    holds={
        "act": ANY,
        "window_size": ANY,
        "norm_eps": (1e-5,),  # of the norms that its config does not reach
        "kind": ("Swin",),
        "patch_norm": (True,),
        "rel_pos_bias": (True,),
        "pos_embed": ("none",),
        "pool": ("norm_avg",),
        "qkv_bias": ("all", "none"),
    },
    dead=(r"embeddings\.mask_token", r"pooler\."),  # a backbone has none
    make=_make_swin,
    read=_read_swin,
    cannot=_swin_cannot,
    ignore=frozenset({"input_resolution", "patch_grid", "shift_size"}),
)

LAYOUTS = (
    VIT, DEIT, MAE, DINOV2, DINOV2_GATED, DINOV2_REGISTERS, DINOV2_REGISTERS_GATED, DINOV3, DINOV3_GATED, CLIP, SIGLIP,
    SIGLIP_MEAN, SWIN,
)  # fmt: skip
