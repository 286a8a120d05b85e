"""mmpretrain: ``VisionTransformer``, ``DistilledVisionTransformer``, ``BEiTViT``, ``ViTEVA02`` and ``SwinTransformer``.

A complete model is an ``ImageClassifier``; without classes it is the backbone alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from ..errors import LearngeneError
from ..vit.spec import ViTSpec
from .base import ANY, Key, Layout, small_grid
from .modules import act_name, known, ratio_of

_ACTS = {
    "gelu": dict(type="GELU"),
    "gelu_tanh": dict(type="GELU", approximate="tanh"),
    "quick_gelu": dict(type="mmpretrain.QuickGELU"),
    "relu": dict(type="ReLU"),
    "silu": dict(type="SiLU"),
}
_OUT_TYPES = {"avg_norm": "avg_featmap", "norm_avg": "featmap", "cls": "cls_token"}

# ---------------------------------------------------------------------- configs


def backbone_cfg(spec: ViTSpec, **overrides) -> dict:
    """Config of the mmpretrain backbone of ``spec``, pooling included.

    Where heads differ from layer to layer or are together not as wide as ``embed_dims``, which mmpretrain's classes do
    not allow, it is ``mmlearngene.ElasticViT`` or ``mmlearngene.ElasticSwin``.

    Args:
        spec: the ViT.
        **overrides: arguments of the backbone that replace or extend these, ``drop_path_rate`` say.
    """
    cfg = _config_of(spec)(spec)
    return {**cfg, **overrides}


def _config_of(spec: ViTSpec) -> Callable[[ViTSpec], dict]:
    if spec.depths is not None:
        return _swin_cfg
    if spec.rel_pos_bias or spec.qkv_bias == "qv" or (spec.pos_embed == "none" and spec.rope == "none"):
        return _beit_cfg
    return _vit_cfg if spec.rope == "none" else _eva_cfg


def _common_cfg(spec: ViTSpec) -> dict:
    """Arguments that mmpretrain's ViTs share."""
    return dict(
        arch=dict(
            embed_dims=spec.embed_dims,
            num_layers=spec.num_layers,
            num_heads=spec.num_heads if spec.is_ordinary else 1,
            feedforward_channels=spec.feedforward_channels,
        ),
        img_size=spec.img_size,
        patch_size=spec.patch_size,
        in_channels=spec.in_channels,
        norm_cfg=_norm_cfg(spec),
        out_type=_OUT_TYPES.get(spec.pool, "raw"),
        final_norm=spec.final_norm and spec.pool != "avg_norm",
    )


def _norm_cfg(spec: ViTSpec) -> dict:
    return dict(type="LN", eps=spec.norm_eps)


def _stem_cfg(spec: ViTSpec) -> dict:
    """What is said only where it is not as usual, so that plain configs stay plain."""
    cfg = dict(pre_norm=True) if spec.pre_norm else {}
    patch = dict(bias=spec.patch_bias) if spec.patch_bias == spec.pre_norm else {}
    patch |= dict(norm_cfg=_norm_cfg(spec)) if spec.patch_norm else {}
    return {**cfg, **(dict(patch_cfg=patch) if patch else {})}


def _vit_cfg(spec: ViTSpec) -> dict:
    cfg = dict(
        _common_cfg(spec), type="mmpretrain.VisionTransformer", with_cls_token=spec.class_token, **_stem_cfg(spec)
    )
    if spec.dist_token:
        cfg["type"] = "mmpretrain.DistilledVisionTransformer"
        del cfg["with_cls_token"]
    if spec.qkv_bias == "none":
        cfg["qkv_bias"] = False
    if spec.init_values is not None:
        cfg["layer_scale_init_value"] = spec.init_values
    layer = {}
    if spec.mlp != "mlp":  # of whose hidden width the class takes two thirds
        layer = dict(ffn_type="swiglu_fused", feedforward_channels=spec.feedforward_channels * 3 // 2)
    elif spec.act != "gelu":
        layer = dict(act_cfg=_ACTS[spec.act])
    if layer:
        cfg["layer_cfgs"] = layer
    if not spec.is_ordinary:
        cfg |= dict(type="mmlearngene.ElasticViT", num_heads=list(spec.heads), head_dims=spec.head_dim)
    if spec.learngene_heads:
        cfg |= dict(type="mmlearngene.PEGViT", learngene_heads=spec.learngene_heads)
    return cfg


def _beit_cfg(spec: ViTSpec) -> dict:
    cfg = dict(
        _common_cfg(spec),
        type="mmpretrain.BEiTViT",
        with_cls_token=spec.class_token,
        bias={"qv": "qv_bias", "all": True, "none": False}[spec.qkv_bias],
        use_abs_pos_emb=spec.pos_embed == "learn",
        use_rel_pos_bias=spec.rel_pos_bias,
        layer_scale_init_value=spec.init_values or 0.0,
    )
    return {**cfg, **(dict(layer_cfgs=dict(act_cfg=_ACTS[spec.act])) if spec.act != "gelu" else {})}


def _eva_cfg(spec: ViTSpec) -> dict:
    return dict(
        _common_cfg(spec),
        type="mmpretrain.ViTEVA02",
        with_cls_token=spec.class_token,
        sub_ln=spec.scale_mlp_norm,
        qkv_bias=spec.qkv_bias == "all",
        **_stem_cfg(spec),
    )


def _swin_cfg(spec: ViTSpec) -> dict:
    heads = list(spec.num_heads)
    ordinary = spec.is_ordinary
    cfg = dict(
        type="mmpretrain.SwinTransformer",
        arch=dict(
            embed_dims=spec.embed_dims,
            depths=list(spec.depths),
            num_heads=heads if ordinary else [1] * len(spec.depths),
        ),
        img_size=spec.img_size,
        patch_size=spec.patch_size,
        in_channels=spec.in_channels,
        window_size=spec.window_size,
    )
    if spec.feedforward_channels != 4 * spec.embed_dims:
        cfg["stage_cfgs"] = dict(block_cfgs=dict(ffn_ratio=ratio_of(spec.feedforward_channels, spec.embed_dims)))
    if not ordinary:
        cfg |= dict(type="mmlearngene.ElasticSwin", num_heads=heads, head_dims=spec.head_dim)
    return cfg


def classifier_cfg(spec: ViTSpec, backbone: dict | None = None, head: dict | None = None, **overrides) -> dict:
    """Config of the plain ``mmpretrain.ImageClassifier`` of ``spec``.

    Args:
        spec: the ViT; its classes give the head.
        backbone: overrides of :func:`backbone_cfg`.
        head: overrides of the ``LinearClsHead`` (its ``loss``, say).
        **overrides: further arguments of the classifier (``data_preprocessor``, ``train_cfg``, ``init_cfg``).
    """
    width = spec.embed_dims << (len(spec.stages) - 1)
    kind = "mmpretrain.DeiTClsHead" if spec.dist_token else "mmpretrain.LinearClsHead"
    default_head = dict(type=kind, num_classes=spec.num_classes, in_channels=width)
    return dict(
        type="mmpretrain.ImageClassifier",
        backbone=backbone_cfg(spec, **(backbone or {})),
        neck=dict(type="mmpretrain.GlobalAveragePooling") if spec.pool == "norm_avg" else None,
        head={**default_head, **(head or {})},
        **overrides,
    )


def _make(spec: ViTSpec) -> nn.Module:
    from ..registry import MODELS

    return MODELS.build(classifier_cfg(spec) if spec.num_classes else backbone_cfg(spec))


# ---------------------------------------------------------------------- reading


def _pool(vit: nn.Module, around: nn.Module | None) -> str | None:
    """Pooling order; None where the backbone gives its tokens. ``around`` has a mean where it has a head for a map."""
    out = {name: pool for pool, name in _OUT_TYPES.items()}.get(vit.out_type)
    if out == "avg_norm" and vit.final_norm:
        raise LearngeneError(
            "a norm before and another behind the mean (final_norm with out_type='avg_featmap') is not known here"
        )
    return None if out == "norm_avg" and getattr(around, "head", None) is None else out


def _odd_head(around: nn.Module, vit: nn.Module) -> str | None:
    """Why a classifier is more than one linear layer behind what the backbone, or a mean, pools."""
    neck, head = getattr(around, "neck", None), getattr(around, "head", None)
    if head is None:
        return None
    is_mean = type(neck).__name__ == "GlobalAveragePooling" and isinstance(neck.gap, nn.AdaptiveAvgPool2d)
    gives_map = getattr(vit, "out_type", "featmap") == "featmap"  # Swin has no other
    if neck is not None and not (is_mean and gives_map):
        return f"the neck {type(neck).__name__} stands before it"
    if neck is None and gives_map:
        return "no mean of the tokens stands before it"
    layers = [name for name, _ in getattr(head, "layers", nn.Sequential()).named_children()]
    if not {*layers} <= {"head", "head_dist"}:
        return f"{type(head).__name__} has the layers {', '.join(layers)}"
    return None


def _common(vit: nn.Module, around: nn.Module | None, norm: nn.Module, **fields) -> dict:
    known(type(norm).__name__, ("LayerNorm",), "norm")
    return dict(
        img_size=tuple(vit.img_size), norm_eps=norm.eps, pool=_pool(vit, around), post_norm=False, rope="none", **fields
    )


def _read_vit(vit: nn.Module, around: nn.Module | None) -> dict:
    layer = vit.layers[0]
    gated = hasattr(layer.ffn, "w12")
    return _common(
        vit,
        around,
        layer.ln1,
        num_heads=[layer.attn.num_heads for layer in vit.layers],
        act="silu" if gated else act_name(layer.ffn.layers[0][1]),
    )


def _read_beit(vit: nn.Module, around: nn.Module | None) -> dict:
    if vit.rel_pos_bias is not None:
        raise LearngeneError("one relative-position bias for all layers (use_shared_rel_pos_bias) is not known here")
    return _read_vit(vit, around)


def _read_eva(vit: nn.Module, around: nn.Module | None) -> dict:
    fields = _common(
        vit, around, vit.layers[0].norm1, num_heads=[layer.attn.num_heads for layer in vit.layers], act="silu"
    )
    return {**fields, "rope": "tiled", "rope_temperature": float(vit.rope.theta)}


def _read_swin(vit: nn.Module, around: nn.Module | None) -> dict:
    blocks = [block for stage in vit.stages for block in stage.blocks]
    has_head = getattr(around, "head", None) is not None
    return dict(
        img_size=getattr(vit.patch_embed, "init_input_size", None),
        num_heads=[block.attn.w_msa.num_heads for block in blocks],
        norm_eps=blocks[0].norm1.eps,
        act=act_name(blocks[0].ffn.layers[0][1]),
        pool="norm_avg" if has_head and vit.out_indices == (len(vit.stages) - 1,) else None,
        post_norm=False,
        rope="none",
    )


# ---------------------------------------------------------------------- tables

_IGNORE = frozenset({"out_type", "final_norm", "pad_small_map", "output_cls_token", "out_origin"})
_EXTRA = (r"patch_embed\.adaptive_padding\..*",)  # of images that are not divisible into patches
_HEADS = {"head": ("head.fc", "head.layers.head")}


def _cannot(spec: ViTSpec) -> str | None:
    if spec.pool == "avg_norm" and not spec.final_norm:
        return "no norm behind the mean"
    if spec.mlp != "mlp" and spec.rope == "none" and spec.feedforward_channels % 8:
        return f"a hidden width of {spec.feedforward_channels}"
    return None


_COMMON = dict(
    framework="mmpretrain",
    inside="backbone",
    heads=_HEADS,
    odd_head=_odd_head,
    make=_make,
    ignore=_IGNORE,
)
_STEM = {
    "patch_embed": "patch_embed.projection",
    "patch_norm": "patch_embed.norm",
    "cls_token": Key("cls_token", lead=2),
    "pos_embed": Key("pos_embed", lead=1),
    "norm_pre": "pre_norm",
    "norm": "ln1",
    "norm@avg_norm": "ln2",
}
_MAPS = {f"{name}.{part}": f"layers.{{}}.attn.{name}.{part}" for name in ("logits", "values") for part in (0, 2)}
VIT = Layout(
    **_COMMON,
    cls="mmpretrain.models.backbones.vision_transformer.VisionTransformer",
    keys={
        **_STEM,
        "norm1": "layers.{}.ln1",
        "qkv": "layers.{}.attn.qkv",
        "proj": "layers.{}.attn.proj",
        "ls1.gamma": "layers.{}.attn.gamma1.weight",
        "norm2": "layers.{}.ln2",
        "fc1": "layers.{}.ffn.layers.0.0",
        "fc2": "layers.{}.ffn.layers.1",
        "ls2.gamma": "layers.{}.ffn.gamma2.weight",
        **_MAPS,  # of PEGViT only
    },
    holds={
        **dict.fromkeys(
            (
                "class_token", "norm_eps", "act", "init_values", "pre_norm", "patch_norm", "patch_bias", "final_norm",
                "is_ordinary", "learngene_heads",
            ),
            ANY,
        ),
        "qkv_bias": ("all", "none"),
        "pool": ("avg_norm", "norm_avg", "cls"),
    },
    extra=_EXTRA,
    read=_read_vit,
    cannot=_cannot,
)  # fmt: skip
VIT_GATED = replace(
    VIT,
    keys={**VIT.keys, "fc1": "layers.{}.ffn.w12", "fc2": "layers.{}.ffn.w3"},
    holds={**VIT.holds, "mlp": ("swiglu", "swiglu_packed")},
)
DISTILLED = replace(
    VIT,
    cls="mmpretrain.models.backbones.deit.DistilledVisionTransformer",
    heads={"head": ("head.layers.head",), "head_dist": ("head.layers.head_dist",)},
    keys={**VIT.keys, "dist_token": Key("dist_token", lead=2)},
    holds={
        **dict.fromkeys(("norm_eps", "act", "init_values", "final_norm"), ANY),
        "qkv_bias": ("all", "none"),
        "class_token": (True,),
        "dist_token": (True,),
        "pool": ("cls",),
    },
)
BEIT = Layout(
    **_COMMON,
    cls="mmpretrain.models.backbones.beit.BEiTViT",
    keys={
        **VIT.keys,
        "qkv.bias": tuple(f"layers.{{}}.attn.{part}_bias" for part in "qkv"),
        "bias_table": "layers.{}.attn.relative_position_bias_table",
        "ls1.gamma": "layers.{}.gamma_1",
        "ls2.gamma": "layers.{}.gamma_2",
    },
    holds={
        **dict.fromkeys(("norm_eps", "act", "init_values", "pos_embed", "rel_pos_bias", "final_norm"), ANY),
        "class_token": (True,),
        "qkv_bias": ("qv", "none"),
        "pool": ("avg_norm", "norm_avg", "cls"),
    },
    extra=_EXTRA,
    read=_read_beit,
    cannot=_cannot,
)
BEIT_ALL_BIASES = replace(
    BEIT,
    keys={**BEIT.keys, "qkv.bias": "layers.{}.attn.qkv.bias"},
    holds={**BEIT.holds, "qkv_bias": ("all",), "rel_pos_bias": (True,)},
)
EVA02 = Layout(
    **_COMMON,
    cls="mmpretrain.models.backbones.vit_eva02.ViTEVA02",
    keys={
        **_STEM,
        "norm1": "layers.{}.norm1",
        "qkv": "layers.{}.attn.qkv",
        "proj": "layers.{}.attn.proj",
        "norm2": "layers.{}.norm2",
        "fc1": "layers.{}.mlp.w12",
        "mlp_norm": "layers.{}.mlp.norm",
        "fc2": "layers.{}.mlp.w3",
    },
    holds={
        **dict.fromkeys(
            (
                "class_token", "norm_eps", "act", "pre_norm", "patch_norm", "patch_bias", "final_norm",
                "scale_mlp_norm",
            ),
            ANY,
        ),
        "mlp": ("swiglu", "swiglu_packed"),
        "rope": ("tiled",),
        "qkv_bias": ("all", "none"),
        "pool": ("avg_norm", "norm_avg", "cls"),
    },
    extra=_EXTRA,
    read=_read_eva,
    cannot=_cannot,
)  # fmt: skip


def _swin_cannot(spec: ViTSpec) -> str | None:
    if len(spec.depths) != 4:
        return f"{len(spec.depths)} stages"
    if not spec.is_ordinary and spec.feedforward_channels != 4 * spec.embed_dims:
        return f"a hidden width of {spec.feedforward_channels} with heads that are together not as wide as the stage"
    return small_grid(spec)


_BLOCK = "stages.{stage}.blocks.{block}"
SWIN = Layout(
    **_COMMON,
    cls="mmpretrain.models.backbones.swin_transformer.SwinTransformer",
    keys={
        "patch_embed": "patch_embed.projection",
        "patch_norm": "patch_embed.norm",
        "norm1": f"{_BLOCK}.norm1",
        "qkv": f"{_BLOCK}.attn.w_msa.qkv",
        "bias_table": f"{_BLOCK}.attn.w_msa.relative_position_bias_table",
        "proj": f"{_BLOCK}.attn.w_msa.proj",
        "norm2": f"{_BLOCK}.norm2",
        "fc1": f"{_BLOCK}.ffn.layers.0.0",
        "fc2": f"{_BLOCK}.ffn.layers.1",
        "downsample.norm": "stages.{stage}.downsample.norm",
        "downsample.reduction": "stages.{stage}.downsample.reduction",
        "norm": "norm3",
    },
    holds={
        "window_size": ANY,
        "is_ordinary": ANY,
        "norm_eps": (1e-5,),
        "kind": ("Swin",),
        "patch_norm": (True,),
        "rel_pos_bias": (True,),
        "pos_embed": ("none",),
        "pool": ("norm_avg",),
    },
    extra=(*_EXTRA, r"norm[012]\..*", r"stages\.\d\.downsample\.adaptive_padding\..*"),  # norms of feature maps
    read=_read_swin,
    cannot=_swin_cannot,
)

LAYOUTS = (VIT, VIT_GATED, DISTILLED, BEIT, BEIT_ALL_BIASES, EVA02, SWIN)
