"""timm: ``VisionTransformer``, ``VisionTransformerDistilled``, ``Eva``, ``Beit`` and ``SwinTransformer``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from timm.layers import Attention, GluMlp, RmsNorm, SwiGLU
from timm.models.beit import Beit
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.swin_transformer import SwinTransformer, WindowAttention
from timm.models.vision_transformer import Block, ResPostBlock, VisionTransformer
from torch import nn

from ..errors import LearngeneError
from ..vit.spec import WORDS, ViTSpec
from .base import ANY, Key, Layout, small_grid
from .modules import LITTLE, act_name, known, pool_name, ratio_of

_NO_DIFFERENCE = frozenset(  # how other sizes are served; pooling and positions of prefix tokens are read
    {
        "global_pool",
        "pool_include_prefix",
        "no_embed_class",
        "dynamic_img_size",
        "strict_img_size",
        "output_fmt",
        "flatten",
        "feat_shape",
        "dynamic_mask",
        "qkv_bias_separate",
    }
)

# ---------------------------------------------------------------------- VisionTransformer

_STEM = {
    "patch_embed": "patch_embed.proj",
    "patch_norm": "patch_embed.norm",
    "cls_token": Key("cls_token", lead=2),
    "reg_tokens": Key("reg_token", lead=1),
    "pos_embed": Key("pos_embed", lead=1),
    "norm_pre": "norm_pre",
    "norm": "norm",
    "norm@avg_norm": "fc_norm",
    "attn_pool.latent": Key("attn_pool.latent", lead=2),
    "attn_pool.qkv": ("attn_pool.q", Key("attn_pool.kv", share=2)),
    "attn_pool.proj": "attn_pool.proj",
    "attn_pool.norm": "attn_pool.norm",
    "attn_pool.fc1": "attn_pool.mlp.fc1",
    "attn_pool.fc2": "attn_pool.mlp.fc2",
    "head": "head",
}
_BLOCK = {
    "norm1": "blocks.{}.norm1",
    "qkv": "blocks.{}.attn.qkv",
    "q_norm": "blocks.{}.attn.q_norm",
    "k_norm": "blocks.{}.attn.k_norm",
    "attn_norm": "blocks.{}.attn.norm",
    "proj": "blocks.{}.attn.proj",
    "ls1.gamma": "blocks.{}.ls1.gamma",
    "norm2": "blocks.{}.norm2",
    "fc1": "blocks.{}.mlp.fc1",
    "mlp_norm": "blocks.{}.mlp.norm",
    "fc2": "blocks.{}.mlp.fc2",
    "ls2.gamma": "blocks.{}.ls2.gamma",
}
_GATE_APART = {"fc1": ("blocks.{}.mlp.fc1_g", "blocks.{}.mlp.fc1_x")}


def _norm_layer(spec: ViTSpec):
    return partial(nn.LayerNorm if spec.norm == "layernorm" else RmsNorm, eps=spec.norm_eps)


def _sizes(spec: ViTSpec) -> dict:
    """Arguments that all of timm's ViTs share."""
    return dict(
        img_size=spec.img_size,
        patch_size=spec.patch_size,
        in_chans=spec.in_channels,
        num_classes=spec.num_classes,
        global_pool={"cls": "token", "map": "map"}.get(spec.pool, "avg"),
        embed_dim=spec.embed_dims,
        depth=spec.num_layers,
        num_heads=spec.num_heads if spec.is_ordinary else 1,
        mlp_ratio=ratio_of(spec.feedforward_channels, spec.embed_dims),
        norm_layer=_norm_layer(spec),
        init_values=spec.init_values,
    )


def model_kwargs(spec: ViTSpec) -> dict:
    """Arguments that make ``timm.models.vision_transformer.VisionTransformer`` the ViT of ``spec``.

    They cannot say that heads differ from layer to layer or are together not as wide as ``embed_dims``: see
    :func:`mmlearngene.build`.
    """
    kwargs = dict(
        _sizes(spec),
        qkv_bias=spec.qkv_bias == "all",
        qk_norm=spec.qk_norm,
        scale_attn_norm=spec.scale_attn_norm,
        scale_mlp_norm=spec.scale_mlp_norm,
        proj_bias=spec.proj_bias,
        class_token=spec.class_token,
        pos_embed=spec.pos_embed,
        no_embed_class=spec.no_embed_class,
        reg_tokens=spec.reg_tokens,
        pre_norm=spec.pre_norm,
        final_norm=spec.final_norm,
        fc_norm=spec.pool == "avg_norm",
        pool_include_prefix=spec.pool_include_prefix,
        embed_norm_layer=_norm_layer(spec) if spec.patch_norm else None,
        act_layer=None if spec.act == "gelu" else spec.act,
        block_fn=ResPostBlock if spec.post_norm else Block,
    )
    if spec.mlp == "swiglu":
        kwargs |= dict(mlp_layer=SwiGLU, act_layer="silu")
    elif spec.mlp == "swiglu_packed":
        packed = ratio_of(2 * spec.feedforward_channels, spec.embed_dims)
        kwargs |= dict(mlp_layer=partial(GluMlp, gate_last=False), act_layer="silu", mlp_ratio=packed)
    return kwargs


def _make_vit(spec: ViTSpec, cls: type = VisionTransformer) -> VisionTransformer:
    without_storage = torch.get_default_device().type == "meta"  # where start values take time for nothing
    model = cls(**model_kwargs(spec), weight_init="skip" if without_storage else "")
    if not spec.is_ordinary:  # which Attention allows and VisionTransformer has no argument for
        for block, heads in zip(model.blocks, spec.heads, strict=True):
            block.attn = Attention(
                spec.embed_dims,
                heads,
                attn_head_dim=spec.head_dim,
                qkv_bias=spec.qkv_bias == "all",
                proj_bias=spec.proj_bias,
                qk_norm=spec.qk_norm,
                scale_norm=spec.scale_attn_norm,
                norm_layer=_norm_layer(spec),
            )
    return model


def _vit_cannot(spec: ViTSpec) -> str | None:
    if spec.patch_bias == spec.pre_norm:
        return f"pre_norm = {spec.pre_norm} with patch_bias = {spec.patch_bias}"
    if spec.proj_bias != spec.mlp_bias:
        return f"proj_bias = {spec.proj_bias} with mlp_bias = {spec.mlp_bias}"
    if spec.post_norm and spec.init_values is not None:
        return "LayerScale (init_values) with post_norm"
    if spec.pool == "map":
        if spec.pool_heads != (spec.num_heads if spec.is_ordinary else 1):
            return f"attention pooling of {spec.pool_heads} heads (attn_pool_num_heads)"
        if spec.mlp == "swiglu_packed":
            return "attention pooling beside mlp = swiglu_packed: timm would give the pooling's own MLP another width"
    return None


def _image(vit: nn.Module) -> dict:
    return dict(img_size=tuple(vit.patch_embed.img_size))


def _pool(vit: nn.Module) -> dict:
    """Pooling order of a timm ViT; None where it gives its tokens."""
    kind = known(pool_name(vit.global_pool), ("", "avg", "token", "map"), "pooling")
    averaged = "norm_avg" if isinstance(vit.fc_norm, nn.Identity) else "avg_norm"
    return dict(pool={"": None, "avg": averaged, "token": "cls", "map": "map"}[kind])


def _read_vit(vit: nn.Module, around: nn.Module | None) -> dict:
    block = vit.blocks[0]
    known(type(block).__name__, ("Block", "ResPostBlock"), "layer class")
    known(type(block.attn).__name__, ("Attention",), "attention class")
    act = act_name(block.mlp.act)
    return dict(
        _image(vit),
        **_pool(vit),
        num_heads=[block.attn.num_heads for block in vit.blocks],
        norm_eps=block.norm1.eps,
        act=act,
        post_norm=type(block).__name__ == "ResPostBlock",
        rope="none",
        init_values=getattr(getattr(block, "ls1", None), "init_values", None),
        no_embed_class=vit.no_embed_class,
        pool_include_prefix=vit.pool_include_prefix and vit.num_prefix_tokens > 0,
    )


_VIT_HOLDS = {
    name: ANY
    for name in (
        "class_token", "reg_tokens", "no_embed_class", "pos_embed", "pool", "norm", "norm_eps", "act", "init_values",
        "pre_norm", "patch_norm", "patch_bias", "proj_bias", "mlp_bias", "qk_norm", "scale_attn_norm", "scale_mlp_norm",
        "post_norm", "final_norm", "pool_include_prefix", "attn_pool_num_heads", "is_ordinary",
    )
}  # fmt: skip
VIT = Layout(
    framework="timm",
    cls="timm.models.vision_transformer.VisionTransformer",
    keys={**_STEM, **_BLOCK},
    holds={**_VIT_HOLDS, "qkv_bias": ("all", "none"), "mlp": ("mlp", "swiglu_packed")},
    cannot=_vit_cannot,
    make=_make_vit,
    kwargs=model_kwargs,
    read=_read_vit,
    ignore=_NO_DIFFERENCE,
)
VIT_GATE_APART = replace(VIT, keys={**VIT.keys, **_GATE_APART}, holds={**VIT.holds, "mlp": ("swiglu",)})
DISTILLED = replace(
    VIT,
    cls="timm.models.deit.VisionTransformerDistilled",
    keys={**VIT.keys, "dist_token": Key("dist_token", lead=2), "head_dist": "head_dist"},
    holds={
        **VIT.holds,
        **{"dist_token": (True,), "class_token": (True,), "pool": ("cls",), "reg_tokens": (0,)},
        **{"pos_embed": ("learn",), "no_embed_class": (False,)},  # it makes them whatever its arguments say
    },
    make=partial(_make_vit, cls=VisionTransformerDistilled),
)

# ---------------------------------------------------------------------- Eva

_ROPES = {"RotaryEmbeddingCat": "cat", "RotaryEmbeddingDinoV3": "dinov3", "RotaryEmbeddingMixed": "mixed"}


def _eva_kwargs(spec: ViTSpec, attn_type: str = "eva", qkv_fused: bool = True) -> dict:
    return dict(
        **_sizes(spec),
        qkv_bias=spec.qkv_bias != "none",
        qkv_fused=qkv_fused,
        attn_type=attn_type,
        qk_norm=spec.qk_norm,
        swiglu_mlp=spec.mlp != "mlp",
        # timm builds the MLP whose gate stands apart where this is not 0
        swiglu_align_to=int(spec.mlp == "swiglu" and not spec.scale_mlp_norm),
        scale_mlp=spec.scale_mlp_norm,
        scale_attn_inner=spec.scale_attn_norm,
        class_token=spec.class_token,
        num_reg_tokens=spec.reg_tokens,
        no_embed_class=spec.no_embed_class,
        use_abs_pos_emb=spec.pos_embed == "learn",
        use_rot_pos_emb=spec.rope != "none",
        rope_type=spec.rope,
        rope_temperature=spec.rope_temperature,
        rope_grid_offset=spec.rope_offset,
        rope_grid_indexing=spec.rope_indexing,
        rope_rotate_half=spec.rope_half,
        ref_feat_shape=spec.rope_ref_grid,
        use_post_norm=spec.post_norm,
        use_pre_transformer_norm=spec.pre_norm,
        use_post_transformer_norm=spec.final_norm and spec.pool != "avg_norm",
        use_fc_norm=spec.final_norm and spec.pool == "avg_norm",
        attn_pool_num_heads=spec.attn_pool_num_heads,
        attn_pool_mlp_ratio=spec.attn_pool_mlp_ratio
        and (spec.attn_pool_mlp_ratio * spec.embed_dims + LITTLE) / spec.embed_dims,
    )


def _made(cls: type, kwargs: Callable[[ViTSpec], dict]) -> dict:
    """The entries of a layout for a class that its arguments alone make."""
    return dict(make=lambda spec: cls(**kwargs(spec)), kwargs=kwargs)


def _eva_cannot(spec: ViTSpec) -> str | None:
    if spec.patch_bias == spec.pre_norm:
        return f"pre_norm = {spec.pre_norm} with patch_bias = {spec.patch_bias}"
    if spec.post_norm and (spec.init_values is not None or spec.qk_norm):
        return "LayerScale (init_values) or qk_norm with post_norm"
    if spec.post_norm and spec.mlp == "swiglu" and not spec.scale_mlp_norm:
        return "mlp = swiglu with post_norm"
    if spec.pool == "map" and spec.num_prefix_tokens and not spec.pool_include_prefix:
        return "attention pooling over patches alone (pool_include_prefix = False)"
    if spec.mlp != "mlp" and spec.scale_mlp_norm != (spec.mlp == "swiglu") and spec.scale_mlp_norm:
        return "mlp = swiglu_packed with scale_mlp_norm"
    if spec.mlp == "mlp" and spec.act != "gelu":
        return f"{WORDS['act']} = {spec.act}"
    if spec.pool != "map" and spec.features()["pool_include_prefix"]:
        return "a mean over class and register tokens, too (pool_include_prefix)"
    if spec.mlp != "mlp" and spec.pool == "map":  # whose MLP has a gelu whatever the layers have
        return f"attention pooling with mlp = {spec.mlp}"
    return None


def _read_eva(vit: nn.Module, around: nn.Module | None) -> dict:
    block = vit.blocks[0]
    if block.attn.gate is not None:
        raise LearngeneError("gated attention is not a feature that is known here")
    if any(getattr(b.attn, "num_kv_groups", 1) > 1 for b in vit.blocks):
        raise LearngeneError("grouped-query attention (num_kv_heads) is not a feature that is known here")
    if getattr(block, "gamma_1", None) is not None and block.gamma_2 is None:
        raise LearngeneError(
            "LayerScale on the attention alone (attn_only_layer_scale) is not a feature that is known here"
        )
    fields = dict(
        _image(vit),
        **_pool(vit),
        num_heads=[block.attn.num_heads for block in vit.blocks],
        norm_eps=block.norm1.eps,
        act=act_name(block.mlp.act),
        post_norm=type(block).__name__ == "EvaBlockPostNorm",
        init_values=getattr(block, "init_values", None),
        no_embed_class=vit.no_embed_class,
        pool_include_prefix=vit.global_pool == "map" and vit.num_prefix_tokens > 0,
        rope="none",
    )
    if vit.attn_pool is not None:
        width = vit.embed_dim
        fields |= dict(
            attn_pool_num_heads=vit.attn_pool.num_heads, attn_pool_mlp_ratio=vit.attn_pool.mlp.fc1.out_features / width
        )
    if vit.rope is not None:
        rope = vit.rope
        fields |= dict(
            rope=_ROPES[known(type(rope).__name__, _ROPES, "rotary positions")],
            rope_temperature=float(rope.temperature),
            rope_offset=float(getattr(rope, "grid_offset", 0.0)),
            rope_indexing=rope.grid_indexing,
            rope_half=bool(block.attn.rotate_half),
            rope_ref_grid=getattr(rope, "ref_feat_shape", None),
        )
    return fields


_EVA_BLOCK = {
    **_BLOCK,
    "ls1.gamma": "blocks.{}.gamma_1",
    "ls2.gamma": "blocks.{}.gamma_2",
    "rope_freqs": Key("rope.freqs", stacked=1),
}
_APART = {
    "qkv.weight": tuple(f"blocks.{{}}.attn.{part}_proj.weight" for part in "qkv"),
    "qkv.bias": tuple(f"blocks.{{}}.attn.{part}_proj.bias" for part in "qkv"),
}
_EVA_HOLDS = {
    **{name: ANY for name in _VIT_HOLDS if name not in ("proj_bias", "mlp_bias", "patch_norm", "is_ordinary")},
    "rope": ("none", "cat", "dinov3", "mixed"),
    **dict.fromkeys(("rope_temperature", "rope_offset", "rope_indexing", "rope_half", "rope_ref_grid"), ANY),
    "act": ("gelu", "silu"),
    "attn_pool_mlp_ratio": ANY,
}
EVA = Layout(
    framework="timm",
    cls="timm.models.eva.Eva",
    keys={**_STEM, **_EVA_BLOCK, "qkv.bias": tuple(f"blocks.{{}}.attn.{part}_bias" for part in "qkv")},
    holds={**_EVA_HOLDS, "qkv_bias": ("qv", "none"), "mlp": ("mlp", "swiglu_packed")},
    cannot=_eva_cannot,
    **_made(Eva, _eva_kwargs),
    read=_read_eva,
    ignore=_NO_DIFFERENCE,
)
EVA_GATE_APART = replace(EVA, keys={**EVA.keys, **_GATE_APART}, holds={**EVA.holds, "mlp": ("swiglu",)})
EVA_QKV_APART = replace(
    EVA_GATE_APART, keys={**EVA_GATE_APART.keys, **_APART}, **_made(Eva, partial(_eva_kwargs, qkv_fused=False))
)
EVA_ROPE = replace(
    EVA,
    keys={**_STEM, **_EVA_BLOCK},
    holds={**EVA.holds, "qkv_bias": ("all", "none")},
    **_made(Eva, partial(_eva_kwargs, attn_type="rope")),
)

EVA_ROPE_GATE_APART = replace(
    EVA_ROPE, keys={**EVA_ROPE.keys, **_GATE_APART}, holds={**EVA_ROPE.holds, "mlp": ("swiglu",)}
)

# ---------------------------------------------------------------------- Beit


def _beit_kwargs(spec: ViTSpec) -> dict:
    return dict(
        **_sizes(spec),
        qkv_bias=spec.qkv_bias == "qv",
        swiglu_mlp=spec.mlp == "swiglu",
        scale_mlp=spec.scale_mlp_norm,
        use_abs_pos_emb=spec.pos_embed == "learn",
        use_rel_pos_bias=spec.rel_pos_bias,
        use_fc_norm=spec.pool == "avg_norm",
    )


def _read_beit(vit: nn.Module, around: nn.Module | None) -> dict:
    block = vit.blocks[0]
    if vit.rel_pos_bias is not None:
        raise LearngeneError("one relative-position bias for all layers (use_shared_rel_pos_bias) is not known here")
    return dict(
        _image(vit),
        **_pool(vit),
        num_heads=[block.attn.num_heads for block in vit.blocks],
        norm_eps=block.norm1.eps,
        act=act_name(block.mlp.act),
        init_values=block.init_values,
        post_norm=False,
        rope="none",
    )


BEIT = Layout(
    framework="timm",
    cls="timm.models.beit.Beit",
    keys={**EVA.keys, "bias_table": "blocks.{}.attn.relative_position_bias_table"},
    holds={
        **dict.fromkeys(("pos_embed", "rel_pos_bias", "init_values", "scale_mlp_norm", "norm_eps", "norm"), ANY),
        "class_token": (True,),
        "pool": ("avg_norm", "norm_avg", "cls"),
        "qkv_bias": ("qv", "none"),
    },
    **_made(Beit, _beit_kwargs),
    read=_read_beit,
    ignore=_NO_DIFFERENCE,
)
BEIT_GATE_APART = replace(BEIT, keys={**BEIT.keys, **_GATE_APART}, holds={**BEIT.holds, "mlp": ("swiglu",), "act": ANY})

# ---------------------------------------------------------------------- SwinTransformer


def _swin_kwargs(spec: ViTSpec) -> dict:
    """They cannot say that the heads of a stage differ."""
    return dict(
        img_size=spec.img_size,
        patch_size=spec.patch_size,
        in_chans=spec.in_channels,
        num_classes=spec.num_classes,
        global_pool="avg",
        embed_dim=spec.embed_dims,
        depths=spec.depths,
        num_heads=tuple(spec.heads[layers[0]] for layers in spec.stages),
        head_dim=spec.head_dim,
        window_size=spec.window_size,
        mlp_ratio=ratio_of(spec.feedforward_channels, spec.embed_dims),
        norm_layer=_norm_layer(spec),
    )


def _make_swin(spec: ViTSpec) -> SwinTransformer:
    model = SwinTransformer(**_swin_kwargs(spec))
    for stage, layers in zip(model.layers, spec.stages, strict=True):
        for block, layer in zip(stage.blocks, layers, strict=True):
            if spec.heads[layer] != block.attn.num_heads:  # a schedule of heads, which the class has no argument for
                attn = block.attn
                block.attn = WindowAttention(attn.dim, spec.heads[layer], spec.head_dim, attn.window_size)
    return model


def _swin_cannot(spec: ViTSpec) -> str | None:
    """What it computes in a way of its own: it shifts before it pads, and fits windows to each side of a grid."""
    size = spec.window_size
    for grid, layers in zip(spec.grids, spec.stages, strict=True):
        pads, one_window = any(side % size for side in grid), grid.count(size) == 1
        if len(layers) > 1 and (pads or one_window):
            return f"shifted windows of {size} on a stage's grid of {grid[0]} x {grid[1]}"
    return small_grid(spec)


def _read_swin(vit: nn.Module, around: nn.Module | None) -> dict:
    blocks = [block for stage in vit.layers for block in stage.blocks]
    pool = known(pool_name(vit.global_pool), ("", "avg"), "pooling")
    return dict(
        _image(vit),
        pool="norm_avg" if pool else None,
        num_heads=[block.attn.num_heads for block in blocks],
        norm_eps=blocks[0].norm1.eps,
        act=act_name(blocks[0].mlp.act),
        post_norm=False,
        rope="none",
    )


SWIN = Layout(
    framework="timm",
    cls="timm.models.swin_transformer.SwinTransformer",
    keys={
        "patch_embed": "patch_embed.proj",
        "patch_norm": "patch_embed.norm",
        "norm1": "layers.{stage}.blocks.{block}.norm1",
        "qkv": "layers.{stage}.blocks.{block}.attn.qkv",
        "bias_table": "layers.{stage}.blocks.{block}.attn.relative_position_bias_table",
        "proj": "layers.{stage}.blocks.{block}.attn.proj",
        "norm2": "layers.{stage}.blocks.{block}.norm2",
        "fc1": "layers.{stage}.blocks.{block}.mlp.fc1",
        "fc2": "layers.{stage}.blocks.{block}.mlp.fc2",
        "downsample.norm": Key("layers.{next}.downsample.norm", order=(2, 1, 0)),
        "downsample.reduction": Key("layers.{next}.downsample.reduction", order=(0, 3, 2, 1)),
        "norm": "norm",
        "head": "head.fc",
    },
    holds={
        **dict.fromkeys(("window_size", "norm_eps", "is_ordinary"), ANY),
        "kind": ("Swin",),
        "patch_norm": (True,),
        "rel_pos_bias": (True,),
        "pos_embed": ("none",),
        "pool": ("norm_avg",),
    },
    make=_make_swin,
    kwargs=_swin_kwargs,
    cannot=_swin_cannot,
    read=_read_swin,
    ignore=_NO_DIFFERENCE,
)

LAYOUTS = (
    VIT, VIT_GATE_APART, DISTILLED, EVA, EVA_GATE_APART, EVA_QKV_APART, EVA_ROPE, EVA_ROPE_GATE_APART, BEIT,
    BEIT_GATE_APART, SWIN,
)  # fmt: skip
