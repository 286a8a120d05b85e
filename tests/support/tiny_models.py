"""Tiny models of Hugging Face, mmpretrain and mmsegmentation."""

import pytest

from .zoo import shaken


def hugging_face(kind: str, heads: int = 2, layers: int = 2, hidden: int = 40, **fields):
    """A small model of a class of transformers, and a spec's word for where its logits come from."""
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    config_name, model_name = HUGGING_FACE[kind]
    sizes = dict(
        hidden_size=8 * heads, num_hidden_layers=layers, num_attention_heads=heads, image_size=12, patch_size=4
    )
    if "Dinov2" in config_name:
        sizes["mlp_ratio"] = 3
    elif "Swin" in config_name:
        sizes = dict(image_size=32, patch_size=2, embed_dim=8, depths=[2, 2, 1], num_heads=[1, 2, 4], window_size=2)
    else:
        sizes["intermediate_size"] = hidden
    config = getattr(transformers, config_name)(**{**sizes, **fields})
    if "SiglipFor" in model_name:
        whole = transformers.SiglipConfig(vision_config=config.to_dict(), text_config=TEXT)
        whole.num_labels, config = 5, whole
    return shaken(getattr(transformers, model_name)(config))


HUGGING_FACE = {
    "ViT": ("ViTConfig", "ViTModel"),
    "ViT classifier": ("ViTConfig", "ViTForImageClassification"),
    "DeiT": ("DeiTConfig", "DeiTModel"),
    "DeiT classifier": ("DeiTConfig", "DeiTForImageClassificationWithTeacher"),
    "DINOv2": ("Dinov2Config", "Dinov2Model"),
    "DINOv2 with registers": ("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel"),
    "DINOv3": ("DINOv3ViTConfig", "DINOv3ViTModel"),
    "CLIP": ("CLIPVisionConfig", "CLIPVisionModel"),
    "SigLIP": ("SiglipVisionConfig", "SiglipVisionModel"),
    "SigLIP classifier": ("SiglipVisionConfig", "SiglipForImageClassification"),
    "Swin": ("SwinConfig", "SwinModel"),
    "Swin classifier": ("SwinConfig", "SwinForImageClassification"),
}


TEXT = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=60_000)


VIT = dict(
    arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=48), img_size=12, patch_size=4
)  # fmt: skip


GAP = dict(type="mmpretrain.GlobalAveragePooling")


HEAD = dict(type="mmpretrain.LinearClsHead", num_classes=5, in_channels=16)


SWIN = dict(
    arch=dict(embed_dims=8, depths=[2, 2, 2, 1], num_heads=[1, 2, 4, 8]), img_size=32, patch_size=2, window_size=2
)


MMPRETRAIN = {
    "class token": dict(),
    "its own head": dict(head=dict(HEAD, type="mmpretrain.VisionTransformerClsHead")),
    "mean": dict(out_type="featmap", neck=GAP),
    "mean, then norm": dict(out_type="avg_featmap", final_norm=False, with_cls_token=False),
    "no final norm": dict(final_norm=False),
    "layer scale": dict(layer_scale_init_value=0.1, qkv_bias=False),
    "pre-norm": dict(pre_norm=True),
    "swiglu": dict(layer_cfgs=dict(ffn_type="swiglu_fused"), layer_scale_init_value=0.1),
    "relu": dict(layer_cfgs=dict(act_cfg=dict(type="ReLU"))),
    "tanh": dict(layer_cfgs=dict(act_cfg=dict(type="GELU", approximate="tanh"))),
    "quick": dict(layer_cfgs=dict(act_cfg=dict(type="mmpretrain.QuickGELU"))),
    "patch norm": dict(patch_cfg=dict(bias=False, norm_cfg=dict(type="LN", eps=1e-6))),
    "distilled": dict(type="mmpretrain.DistilledVisionTransformer", head=dict(HEAD, type="mmpretrain.DeiTClsHead")),
    "BEiT": dict(type="mmpretrain.BEiTViT"),
    "BEiT, class token": dict(type="mmpretrain.BEiTViT", out_type="cls_token", final_norm=True, use_abs_pos_emb=True),
    "BEiT, all biases": dict(type="mmpretrain.BEiTViT", bias=True),
    "EVA-02": dict(type="mmpretrain.ViTEVA02", sub_ln=True),
    "EVA-02, mean": dict(type="mmpretrain.ViTEVA02", with_cls_token=False, out_type="avg_featmap", final_norm=False),
    "any heads": dict(type="mmlearngene.ElasticViT", num_heads=[1, 3], head_dims=8),
    "maps over heads": dict(type="mmlearngene.PEGViT", learngene_heads=1),
    "Swin": dict(type="mmpretrain.SwinTransformer", **SWIN, neck=GAP, head=dict(HEAD, in_channels=64)),
}


def mmpretrain_classifier(name: str):
    pytest.importorskip("mmpretrain")
    import mmlearngene.models  # noqa: F401
    from mmlearngene.registry import MODELS

    fields = dict(MMPRETRAIN[name])
    head, neck = fields.pop("head", HEAD), fields.pop("neck", None)
    backbone = {"type": "mmpretrain.VisionTransformer", **({} if name == "Swin" else VIT), **fields}
    return shaken(MODELS.build(dict(type="mmpretrain.ImageClassifier", backbone=backbone, neck=neck, head=head)))


MMSEG = {
    "plain": dict(),
    "no class token": dict(with_cls_token=False),
    "all norms": dict(
        final_norm=True, pre_norm=True, patch_norm=True, patch_bias=True, norm_cfg=dict(type="LN", eps=1e-6)
    ),
    "no biases": dict(qkv_bias=False),
    "relu": dict(act_cfg=dict(type="ReLU")),
}
