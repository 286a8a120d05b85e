"""Hugging Face transformers: the relatives of the classes in :mod:`mmlearngene.frameworks.hf`, each a few lines.

A relative has the names and the function of a class there, or differs in a few names; its own config makes it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from torch import nn

from ..errors import LearngeneError
from ..vit.spec import ViTSpec
from . import hf
from .base import ANY, Key, Layout
from .hf import CLIP, DINOV2, DINOV2_GATED, DINOV2_REGISTERS, DINOV2_REGISTERS_GATED, DINOV3, DINOV3_GATED, VIT


def _make(spec: ViTSpec, cls: str, config: str, entries=lambda spec: {}, **arguments) -> nn.Module:
    """A model of a class, by its full name, from a config with the usual entries and those of the family."""
    module, _, name = cls.rpartition(".")
    usual = hf._config(spec, intermediate_size=spec.feedforward_channels)
    return getattr(importlib.import_module(module), name)(hf._class(config)(**{**usual, **entries(spec)}), **arguments)


def _relative(
    base: Layout, family: str, name: str, config: str, entries=lambda spec: {}, arguments: Mapping = {}, **changes
) -> Layout:
    """The table of a class that has the names of another one.

    Args:
        base: the other one's table.
        family: its folder in transformers.
        name: its class.
        config: the class of its config.
        entries: from a spec, entries of the config beside the usual ones.
        arguments: of the class beside its config.
        **changes: what is not as in ``base``.
    """
    cls = f"transformers.models.{family}.modeling_{family}.{name}"
    make = partial(_make, cls=cls, config=config, entries=entries, **arguments)
    return replace(base, **{**dict(cls=cls, inside="", heads={}, make=make), **changes})


def _attention_of_old(where: str) -> dict:
    """Query, key, value and output projection as they were named before transformers 5."""
    parts = ("query", "key", "value")
    keys = {f"qkv.{kind}": tuple(f"{where}.attention.{part}.{kind}" for part in parts) for kind in ("weight", "bias")}
    return {**keys, "proj": f"{where}.output.dense"}


def _tokens(read) -> object:
    """What another reads, of a model that gives tokens and leaves pooling to others."""
    return lambda vit, around: {**read(vit, around), "pool": None}


# ---------------------------------------------------------------------- CLIP's relatives

_OWL = {**{name: key for name, key in CLIP.keys.items() if name != "norm_pre"}, "norm_pre": "pre_layernorm"}
_NORMED = dict(read=_tokens(hf._read_clip), norms_pooled_alone=False)  # which norms every token
CLIPS = (
    _relative(CLIP, "metaclip_2", "MetaClip2VisionModel", "MetaClip2VisionConfig"),
    _relative(CLIP, "chinese_clip", "ChineseCLIPVisionModel", "ChineseCLIPVisionConfig"),
    _relative(CLIP, "altclip", "AltCLIPVisionModel", "AltCLIPVisionConfig"),
    _relative(CLIP, "clipseg", "CLIPSegVisionModel", "CLIPSegVisionConfig"),
    _relative(CLIP, "git", "GitVisionTransformer", "GitVisionConfig", **_NORMED),
    _relative(CLIP, "kosmos2", "Kosmos2VisionTransformer", "Kosmos2VisionConfig"),
    _relative(CLIP, "owlvit", "OwlViTVisionTransformer", "OwlViTVisionConfig", keys=_OWL),
    _relative(CLIP, "owlv2", "Owlv2VisionTransformer", "Owlv2VisionConfig", keys=_OWL),
)

# ---------------------------------------------------------------------- SigLIP's relatives

_PLAIN_SIGLIP = replace(
    hf.SIGLIP_MEAN, read=_tokens(hf._read_clip), holds={**hf._ANY_OF_PLAIN, "pool": ("norm_avg",)}, dead=(),
    cannot=hf._tokens_only, ignore=frozenset(),
)  # fmt: skip


def _read_janus(vit: nn.Module, around: nn.Module | None) -> dict:
    if vit.config.use_qk_norm:
        raise LearngeneError("norm of queries and keys over all heads together (use_qk_norm) is not known here")
    return {**hf._read_clip(vit, around), "pool": None}


_PROJECTION_LAYER = {"proj": "encoder.layers.{}.self_attn.projection_layer"}
SIGLIPS = (
    _relative(_PLAIN_SIGLIP, "idefics2", "Idefics2VisionTransformer", "Idefics2VisionConfig"),
    _relative(_PLAIN_SIGLIP, "idefics3", "Idefics3VisionTransformer", "Idefics3VisionConfig"),
    _relative(_PLAIN_SIGLIP, "smolvlm", "SmolVLMVisionTransformer", "SmolVLMVisionConfig"),
    _relative(
        _PLAIN_SIGLIP, "janus", "JanusVisionModel", "JanusVisionConfig",
        lambda spec: dict(
            mlp_ratio=hf.ratio_of(spec.feedforward_channels, spec.embed_dims),
            attention_bias=spec.qkv_bias == "all",
        ),
        keys={**_PLAIN_SIGLIP.keys, **_PROJECTION_LAYER},
        holds={**_PLAIN_SIGLIP.holds, "qkv_bias": ("all", "none")},
        read=_read_janus,
    ),
)  # fmt: skip

# ---------------------------------------------------------------------- ViT's relatives


def _read_ijepa(vit: nn.Module, around: nn.Module | None) -> dict:
    return {**hf._read_vit(vit, around), "pool": "norm_avg" if hf._has_classifier(around) else None}


VIT_MSN = replace(
    VIT,
    cls="transformers.models.vit_msn.modeling_vit_msn.ViTMSNModel",
    make=partial(hf._make_vit, name="ViTMSN"),
)
IJEPA = replace(
    VIT,
    cls="transformers.models.ijepa.modeling_ijepa.IJepaModel",
    inside="ijepa",
    keys={name: key for name, key in VIT.keys.items() if name != "cls_token"},
    holds={**hf._ANY_OF_PLAIN, "pool": ("norm_avg",), "qkv_bias": ("all", "none")},
    make=partial(hf._make_vit, name="IJepa"),
    read=_read_ijepa,
)

# ---------------------------------------------------------------------- BLIP


def _qkv_bias(spec: ViTSpec) -> dict:
    return dict(qkv_bias=spec.qkv_bias == "all")


_BLIP = replace(
    CLIP,
    keys={
        "patch_embed": "embeddings.patch_embedding",
        "cls_token": Key("embeddings.class_embedding", lead=2),
        "pos_embed": Key("embeddings.position_embedding", lead=1),
        "norm1": "encoder.layers.{}.layer_norm1",
        "qkv": "encoder.layers.{}.self_attn.qkv",
        "proj": "encoder.layers.{}.self_attn.projection",
        "norm2": "encoder.layers.{}.layer_norm2",
        "fc1": "encoder.layers.{}.mlp.fc1",
        "fc2": "encoder.layers.{}.mlp.fc2",
        "norm": "post_layernorm",
        "norm@avg_norm": None,
    },
    holds={**hf._ANY_OF_PLAIN, "class_token": (True,), "pool": ("cls", "norm_avg")},
    **_NORMED,
)
_BLIP_2 = replace(_BLIP, holds={**_BLIP.holds, "qkv_bias": ("all", "none")})
BLIPS = (
    _relative(_BLIP, "blip", "BlipVisionModel", "BlipVisionConfig"),
    _relative(_BLIP_2, "blip_2", "Blip2VisionModel", "Blip2VisionConfig", _qkv_bias),
    _relative(_BLIP_2, "instructblip", "InstructBlipVisionModel", "InstructBlipVisionConfig", _qkv_bias),
)

# ---------------------------------------------------------------------- backbones: the same ViTs, as maps


def _backbone(base: Layout, name: str) -> Layout:
    """The table of a class that serves the ViT of ``base`` as maps of chosen layers."""

    def make(spec: ViTSpec) -> nn.Module:
        return getattr(importlib.import_module(base.cls.rpartition(".")[0]), name)(base.make(spec).config)

    return replace(base, cls=f"{base.cls.rpartition('.')[0]}.{name}", inside="", make=make)


BACKBONES = (
    _backbone(DINOV2, "Dinov2Backbone"),
    _backbone(DINOV2_GATED, "Dinov2Backbone"),
    _backbone(DINOV2_REGISTERS, "Dinov2WithRegistersBackbone"),
    _backbone(DINOV2_REGISTERS_GATED, "Dinov2WithRegistersBackbone"),
    _backbone(DINOV3, "DINOv3ViTBackbone"),
    _backbone(DINOV3_GATED, "DINOv3ViTBackbone"),
)

# ---------------------------------------------------------------------- InternVL, BEiT


def _renamed(keys: Mapping, old: str, new: str) -> dict:
    """Keys below another name."""

    def one(key):
        if isinstance(key, tuple):
            return tuple(map(one, key))
        if isinstance(key, Key):
            return replace(key, name=key.name.replace(old, new))
        return key and key.replace(old, new)

    return {name: one(key) for name, key in keys.items()}


def _internvl_entries(spec: ViTSpec) -> dict:
    return dict(
        image_size=list(spec.img_size),
        patch_size=[spec.patch_size] * 2,
        attention_bias=spec.qkv_bias == "all",
        layer_scale_init_value=spec.init_values,
        norm_type="layer_norm" if spec.norm == "layernorm" else "rms_norm",
        use_absolute_position_embeddings=spec.pos_embed == "learn",
        use_mean_pooling=not spec.final_norm,
    )


def _read_internvl(vit: nn.Module, around: nn.Module | None) -> dict:
    config = vit.config
    if config.use_qk_norm:
        raise LearngeneError("norm of queries and keys over all heads together (use_qk_norm) is not known here")
    layer = vit.layers[0] if hasattr(vit, "layers") else vit.encoder.layer[0]
    fields = hf._common(vit, layer.mlp.activation_fn)
    return {**fields, "pool": None, "init_values": config.layer_scale_init_value}


_LAYER_SCALE = {"ls1.gamma": "layers.{}.lambda_1", "ls2.gamma": "layers.{}.lambda_2"}
_INTERNVL = replace(
    VIT,
    keys=_renamed(
        {**VIT.keys, **_LAYER_SCALE, "proj": "layers.{}.attention.projection_layer"}, "layers.{}", "encoder.layer.{}"
    ),
    holds={
        **hf._ANY_OF_PLAIN,
        "class_token": (True,),
        "init_values": (True,),
        "pool": ("cls", "norm_avg"),
        "qkv_bias": ("all", "none"),
        **dict.fromkeys(("norm", "final_norm", "pos_embed"), ANY),
    },
    read=_read_internvl,
    extra=(),
)
QIANFAN = _relative(
    replace(_INTERNVL, keys=_renamed(_INTERNVL.keys, "encoder.layer.{}", "layers.{}")),
    "qianfan_ocr",
    "QianfanOCRVisionModel",
    "QianfanOCRVisionConfig",
    _internvl_entries,
)
INTERNVL = _relative(_INTERNVL, "internvl", "InternVLVisionModel", "InternVLVisionConfig", _internvl_entries)

# ---------------------------------------------------------------------- AIMv2 and Ovis2


def _aimv2_entries(spec: ViTSpec) -> dict:
    entries = dict(rms_norm_eps=spec.norm_eps, qkv_bias=spec.qkv_bias == "all", mlp_bias=spec.mlp_bias, use_head=False)
    return {**entries, "is_native": False}


def _aimv2_cannot(spec: ViTSpec) -> str | None:
    if spec.proj_bias != (spec.qkv_bias == "all"):
        return f"qkv_bias = {spec.qkv_bias} with proj_bias = {spec.proj_bias}"
    return hf._tokens_only(spec)


def _read_aimv2(vit: nn.Module, around: nn.Module | None) -> dict:
    config = vit.config
    if getattr(config, "is_native", False):
        raise LearngeneError("sines and cosines as positions (is_native) are not known here")
    return dict(
        num_heads=config.num_attention_heads,
        norm_eps=config.rms_norm_eps,
        act=hf.act_name(vit.encoder.layers[0].ffn.act_fn),
        img_size=config.image_size,
        post_norm=False,
        rope="none",
        pool=None,
    )


_AIMV2 = Layout(
    framework="hf",
    cls="",
    keys={
        "patch_embed": "embeddings.patch_embed",
        "patch_norm": "embeddings.rms_norm",
        "pos_embed": "embeddings.position_embedding.weight",
        "norm1": "encoder.layers.{}.rms_norm1",
        **hf._attention("encoder.layers.{}.attention", "out_proj"),
        "norm2": "encoder.layers.{}.rms_norm2",
        "fc1": ("encoder.layers.{}.ffn.gate_proj", "encoder.layers.{}.ffn.up_proj"),
        "fc2": "encoder.layers.{}.ffn.down_proj",
        "norm": "rms_norm",
        "norm@avg_norm": None,
    },
    holds={
        **hf._HOLDS_GATED,
        "norm_eps": ANY,
        "norm": ("rmsnorm",),
        "patch_norm": (True,),
        "qkv_bias": ("all", "none"),
        "pool": ("norm_avg",),
        **dict.fromkeys(("proj_bias", "mlp_bias"), ANY),
    },
    extra=(r"head\..*",),  # pooling by attention without a query of its own matrix
    make=lambda spec: None,
    read=_read_aimv2,
    cannot=_aimv2_cannot,
    ignore=frozenset({"use_head"}),
)
AIMV2 = _relative(_AIMV2, "aimv2", "Aimv2VisionModel", "Aimv2VisionConfig", _aimv2_entries)
OVIS2 = _relative(
    _AIMV2,
    "ovis2",
    "Ovis2VisionTransformer",
    "Ovis2VisionConfig",
    _aimv2_entries,
    keys={**_AIMV2.keys, "patch_embed": "embeddings.patch_embedding"},
)

# ---------------------------------------------------------------------- BEiT and data2vec


def _beit_entries(spec: ViTSpec) -> dict:
    return dict(
        layer_scale_init_value=spec.init_values or 0.0,
        use_absolute_position_embeddings=spec.pos_embed == "learn",
        use_relative_position_bias=spec.rel_pos_bias,
        use_shared_relative_position_bias=False,
        use_mean_pooling=spec.pool == "avg_norm" or not spec.final_norm,
        num_labels=spec.num_classes,
        drop_path_rate=0.0,
    )


def _make_beit(spec: ViTSpec, family: str) -> nn.Module:
    usual = hf._config(spec, intermediate_size=spec.feedforward_channels)
    config = hf._class(f"{family}Config")(**{**usual, **_beit_entries(spec)})
    if spec.num_classes:
        return hf._class(f"{family}ForImageClassification")(config)
    return hf._class(f"{family}Model")(config, add_pooling_layer=spec.pool == "avg_norm")


def _read_beit(vit: nn.Module, around: nn.Module | None) -> dict:
    config = vit.config
    if config.use_shared_relative_position_bias:
        raise LearngeneError(
            "one table of relative positions for all layers (use_shared_relative_position_bias) is not known here"
        )
    layer = vit.layers[0] if hasattr(vit, "layers") else vit.encoder.layer[0]
    act = layer.mlp.activation_fn if hasattr(layer, "mlp") else layer.intermediate.intermediate_act_fn
    averaged = vit.pooler is not None and config.use_mean_pooling
    return dict(
        hf._common(vit, act),
        pool="avg_norm" if averaged else "cls" if hf._has_classifier(around) else None,
        init_values=config.layer_scale_init_value or None,
    )


_BEIT = replace(
    VIT,
    heads={"head": ("classifier",)},
    keys={
        **VIT.keys,
        **_LAYER_SCALE,
        "bias_table": "layers.{}.relative_position_bias.relative_position_bias_table",
        "norm@avg_norm": "pooler.layernorm",
    },
    holds={
        **hf._ANY_OF_PLAIN,
        **dict.fromkeys(("init_values", "pos_embed", "rel_pos_bias", "final_norm"), ANY),
        "class_token": (True,),
        "pool": ("avg_norm", "cls"),
        "qkv_bias": ("qv",),
    },
    read=_read_beit,
    dead=(*VIT.dead, r"pooler\."),  # where it has no norm
    extra=(),
    cannot=hf._oblong,
)
_DENSE = {  # names of layers before transformers 5
    **_attention_of_old("encoder.layer.{}.attention"),
    "fc1": "encoder.layer.{}.intermediate.dense",
    "fc2": "encoder.layer.{}.output.dense",
}
_BIAS_TABLE = "encoder.layer.{}.attention.attention.relative_position_bias.relative_position_bias_table"
BEIT = replace(
    _BEIT,
    cls="transformers.models.beit.modeling_beit.BeitModel",
    inside="beit",
    make=partial(_make_beit, family="Beit"),
)
DATA2VEC = replace(
    _BEIT,
    cls="transformers.models.data2vec.modeling_data2vec_vision.Data2VecVisionModel",
    inside="data2vec_vision",
    keys={**_renamed(_BEIT.keys, "layers.{}", "encoder.layer.{}"), **_DENSE, "bias_table": _BIAS_TABLE},
    make=partial(_make_beit, family="Data2VecVision"),
)

# ---------------------------------------------------------------------- DPT and FLAVA


def _read_dense(vit: nn.Module, around: nn.Module | None) -> dict:
    if getattr(vit.config, "is_hybrid", False):
        raise LearngeneError("patches of a convolutional network's maps (is_hybrid) are not known here")
    return dict(hf._common(vit, vit.encoder.layer[0].intermediate.intermediate_act_fn), pool=None)


_DENSE_VIT = replace(
    VIT,
    keys={**_renamed(VIT.keys, "layers.{}", "encoder.layer.{}"), **_DENSE},
    holds={**VIT.holds, "pool": ("cls", "norm_avg")},
    read=_read_dense,
    cannot=hf._tokens_only,
)
_NO_POOLER = dict(add_pooling_layer=False)
DPT = _relative(_DENSE_VIT, "dpt", "DPTModel", "DPTConfig", _qkv_bias, _NO_POOLER)
FLAVA = _relative(_DENSE_VIT, "flava", "FlavaImageModel", "FlavaImageConfig", _qkv_bias, _NO_POOLER)

# ---------------------------------------------------------------------- TIPSv2, a DINOv2 with registers

_TIPS = dict(inside="", make=partial(hf._make_dinov2, name="Tipsv2Vision"))
TIPSV2, TIPSV2_GATED = (
    replace(base, cls="transformers.models.tipsv2.modeling_tipsv2.Tipsv2VisionModel", **_TIPS)
    for base in (DINOV2_REGISTERS, DINOV2_REGISTERS_GATED)
)
TIPS = (
    TIPSV2, TIPSV2_GATED, _backbone(TIPSV2, "Tipsv2VisionBackbone"), _backbone(TIPSV2_GATED, "Tipsv2VisionBackbone"),
)  # fmt: skip

LAYOUTS = (
    *hf.LAYOUTS, *CLIPS, *SIGLIPS, VIT_MSN, IJEPA, *BLIPS, *BACKBONES, INTERNVL, QIANFAN, AIMV2, OVIS2, BEIT,
    DATA2VEC, DPT, FLAVA, *TIPS,
)  # fmt: skip
