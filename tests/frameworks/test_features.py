"""Methods by features, and models that compute something else than a learngene's weights are for."""

from pathlib import Path

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mmlearngene import LEARNGENES, LearngeneError, ViTSpec, build, extract, initialize, load_ancestry
from mmlearngene.learngenes.extracted import extraction_methods
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.learngenes.sws import SWS
from mmlearngene.testing import FEATURES, PLAIN, check_method, random_weights, spec_of
from mmlearngene.vit.adapt import adapt_weights

from ..support.zoo import images, noise, outputs, shaken

DOCS = Path(__file__).parents[2] / "docs" / "any_vit.md"
CLS, EVA = FEATURES["class token"], FEATURES["no bias of keys"]
MAKE = {
    "lets": lambda spec: LeTs(spec.replace(num_heads=1, num_layers=2), spec, groups=2, rows=1, repeats=2),
    "sws": lambda spec: SWS(aux=spec, stages=[2, 2]),
    "cluster": lambda spec: extract("cluster", random_weights(spec), eps=0),
    "principal": lambda spec: extract("principal", random_weights(spec), data=noise(spec)),
}
METHODS = ["lets", "tleg", "sws", *extraction_methods()]


def outcome(method: str, feature: str) -> str:
    """``yes``, or the feature by which the method refuses."""
    refused = LEARNGENES[method].refuses(spec_of(feature))
    return "yes" if refused is None else f"no: {refused.partition(':')[0].partition(', whose')[0].strip()}"


def as_table() -> str:
    lines = [f"| feature | {' | '.join(METHODS)} |", f"|---|{'---|' * len(METHODS)}"]
    for feature in FEATURES:
        cells = ["yes" if outcome(method, feature) == "yes" else "no" for method in METHODS]
        lines.append(f"| {feature} | {' | '.join(cells)} |")
    return "\n".join(lines)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("feature", FEATURES)
def test_every_method_on_every_feature_or_refused_by_name(method, feature):
    torch.manual_seed(0)
    check_method(LEARNGENES[method], feature, MAKE.get(method))


@pytest.mark.parametrize(
    "method",
    [m for m in extraction_methods() if m in ("pre-fin", "first-k", "uniform-k", "cluster", "weight-selection")],
)
@pytest.mark.parametrize("feature", FEATURES)
def test_what_keeps_the_ancestry_computes_what_it_computes(method, feature):
    if outcome(method, feature) != "yes":
        return
    torch.manual_seed(0)
    ancestry = random_weights(spec_of(feature))
    gene = extract(method, ancestry, **(dict(eps=0) if method == "cluster" else {}))
    x = images(ancestry.spec.img_size)
    for one, other in zip(outputs(build(ancestry), x), outputs(build(gene.expand()), x), strict=True):
        assert torch.equal(one, other)


def test_the_table_of_the_docs_is_this_one():
    assert as_table() in DOCS.read_text(), f"{DOCS} has another table: python -m {__name__} prints it"


# ---------------------------------------------------------------------- models that compute something else

BASE = dict(class_token=True, pool="cls", init_values=0.1)  # what the learngene has


@pytest.fixture(scope="module")
def gene():
    torch.manual_seed(0)
    return extract("pre-fin", random_weights(ViTSpec.parse("h2-l2", **{**PLAIN, **BASE})))


def timm_vit(**more) -> nn.Module:
    sizes = dict(img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=3, init_values=0.1)
    return shaken(VisionTransformer(**{**sizes, **more}))


def refuses(model: nn.Module, gene, message: str) -> None:
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with pytest.raises(LearngeneError, match=message) as error:
        initialize(model, gene)
    assert "\n" not in str(error.value)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


class _Max(nn.Module):
    pass


def of_timm() -> dict[str, tuple]:
    from timm.layers import Attention, DiffAttention, RmsNorm  # noqa: F401
    from timm.models.beit import Beit
    from timm.models.eva import Eva
    from timm.models.vision_transformer import ParallelScalingBlock, ResPostBlock

    sizes = dict(img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=3)
    return {
        "no layer scale": (lambda: timm_vit(init_values=None), "LayerScale"),
        "pre-norm": (lambda: timm_vit(pre_norm=True), "norm before the layers"),
        "post-norm": (lambda: timm_vit(block_fn=ResPostBlock), "norm behind attention and MLP"),
        "qk-norm": (lambda: timm_vit(qk_norm=True), "norm of queries and keys"),
        "inner norms": (lambda: timm_vit(scale_attn_norm=True), "norm inside the attention"),
        "mlp norm": (lambda: timm_vit(scale_mlp_norm=True), "norm inside the MLP"),
        "registers": (lambda: timm_vit(reg_tokens=2), "register tokens"),
        "ReLU": (lambda: timm_vit(act_layer=nn.ReLU), "act=relu"),
        "quick-gelu": (lambda: timm_vit(act_layer="quick_gelu"), "act=quick_gelu"),
        "RMSNorm": (lambda: timm_vit(norm_layer=RmsNorm), "norm=rmsnorm"),
        "no qkv bias": (lambda: timm_vit(qkv_bias=False), "qkv_bias=none"),
        "no projection bias": (lambda: timm_vit(proj_bias=False), "proj_bias=False"),
        "attention pooling": (lambda: timm_vit(global_pool="map"), "pool=map"),
        "max pooling": (lambda: timm_vit(global_pool="max"), "pooling 'max'"),
        "mean after the norm": (lambda: timm_vit(global_pool="avg", fc_norm=False), "pool=norm_avg"),
        "mean before the norm": (lambda: timm_vit(global_pool="avg"), "pool=avg_norm"),
        "no final norm": (lambda: timm_vit(final_norm=False), "final norm"),
        "differential attention": (lambda: timm_vit(attn_layer="diff", num_heads=1, embed_dim=16), "DiffAttention"),
        "parallel layers": (lambda: timm_vit(block_fn=ParallelScalingBlock), "ParallelScalingBlock"),
        "rope": (lambda: shaken(Eva(**sizes, use_rot_pos_emb=True, global_pool="token", init_values=0.1)), "rope=cat"),
        "relative positions": (
            lambda: shaken(Beit(**sizes, use_rel_pos_bias=True, global_pool="token", init_values=0.1)),
            "relative-position bias",
        ),
        "patch stride": (lambda: _with_conv(timm_vit(), stride=2), "patch stride"),
        "patch padding": (lambda: _with_conv(timm_vit(), padding=1), "patch padding"),
        "a replaced layer": (lambda: _with(timm_vit(), "blocks.1.mlp.act", nn.Tanh()), "blocks.1.mlp.act is Tanh"),
        "another eps in one layer": (
            lambda: _with(timm_vit(), "blocks.1.norm1", nn.LayerNorm(16, eps=0.5)), "blocks.1.norm1 has eps=0.5"
        ),
        "one layer more in a head": (lambda: _with(timm_vit(), "fc_norm", nn.LayerNorm(16)), "fc_norm"),
    }  # fmt: skip


def _with(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
    return model


def _with_conv(model: nn.Module, **changes) -> nn.Module:
    for name, value in changes.items():
        setattr(model.patch_embed.proj, name, (value, value))
    return model


@pytest.mark.parametrize("feature", of_timm())
def test_a_timm_model_that_computes_something_else_is_refused(gene, feature):
    make, message = of_timm()[feature]
    refuses(make(), gene, message)


MMPRETRAIN = {
    "no layer scale": (dict(layer_scale_init_value=0.0), "LayerScale"),
    "pre-norm": (dict(pre_norm=True), "norm before the layers"),
    "ReLU": (dict(layer_cfgs=dict(act_cfg=dict(type="ReLU"))), "act=relu"),
    "quick-gelu": (dict(layer_cfgs=dict(act_cfg=dict(type="mmpretrain.QuickGELU"))), "act=quick_gelu"),
    "swiglu": (dict(layer_cfgs=dict(ffn_type="swiglu_fused")), "mlp=swiglu|mlp_ratio"),
    "no qkv bias": (dict(qkv_bias=False), "qkv_bias=none"),
    "no class token": (dict(with_cls_token=False, out_type="featmap"), "class token"),
    "mean before the norm": (dict(out_type="avg_featmap", final_norm=False), "pool=avg_norm"),
    "two norms": (dict(out_type="avg_featmap"), "a norm before and another behind the mean"),
    "no final norm": (dict(final_norm=False), "final norm"),
    "patch norm": (dict(patch_cfg=dict(norm_cfg=dict(type="LN", eps=1e-6))), "norm after the patch embedding"),
    "no patch bias": (dict(patch_cfg=dict(bias=False)), "patch_bias=False"),
    "patch stride": (dict(patch_cfg=dict(stride=2)), "patch stride"),
    "RMSNorm": (dict(norm_cfg=dict(type="BN1d")), "norm 'BatchNorm1d'"),
    "relative positions": (dict(type="mmpretrain.BEiTViT", out_type="cls_token", final_norm=True), "qkv_bias=qv"),
    "rope": (dict(type="mmpretrain.ViTEVA02", layer_scale_init_value=0.0), "rope=tiled"),
}


@pytest.mark.parametrize("feature", MMPRETRAIN)
def test_an_mmpretrain_model_that_computes_something_else_is_refused(gene, feature):
    pytest.importorskip("mmpretrain")
    from mmlearngene.registry import MODELS

    changes, message = MMPRETRAIN[feature]
    arch = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=64)
    cfg = dict(type="mmpretrain.VisionTransformer", arch=arch, img_size=16, patch_size=4, layer_scale_init_value=0.1)
    cfg = {**cfg, **changes}
    if "EVA02" in cfg["type"]:
        del cfg["layer_scale_init_value"]
    head = dict(type="mmpretrain.LinearClsHead", num_classes=3, in_channels=16)
    neck = dict(type="mmpretrain.GlobalAveragePooling") if cfg.get("out_type") == "featmap" else None
    model = MODELS.build(dict(type="mmpretrain.ImageClassifier", backbone=cfg, head=head, neck=neck))
    refuses(shaken(model), gene, message)


MMSEG = {
    "no patch bias": (dict(patch_bias=False), "patch_bias=False"),
    "pre-norm": (dict(pre_norm=True), "norm before the layers"),
    "patch norm": (dict(patch_norm=True), "norm after the patch embedding"),
    "ReLU": (dict(act_cfg=dict(type="ReLU")), "act=relu"),
    "no class token": (dict(with_cls_token=False), "class token"),
    "no biases": (dict(qkv_bias=False), "qkv_bias=none"),
    "BatchNorm": (dict(norm_cfg=dict(type="BN")), "norm 'BatchNorm2d'"),
}


@pytest.mark.parametrize("feature", MMSEG)
def test_an_mmsegmentation_model_that_computes_something_else_is_refused(feature):
    backbones = pytest.importorskip("mmseg.models.backbones")
    plain = extract("pre-fin", random_weights(ViTSpec.parse("h2-l2", **{**PLAIN, **CLS})))
    changes, message = MMSEG[feature]
    sizes = dict(img_size=16, patch_size=4, embed_dims=16, num_layers=2, num_heads=2, patch_bias=True, final_norm=True)
    refuses(shaken(backbones.VisionTransformer(**{**sizes, **changes})), plain, message)


HUGGING_FACE = {
    "no layer scale": ("ViTConfig", "ViTForImageClassification", dict(num_labels=3), "LayerScale"),
    "ReLU": ("Dinov2Config", "Dinov2Model", dict(hidden_act="relu"), "act=relu"),
    "swiglu": ("Dinov2Config", "Dinov2Model", dict(use_swiglu_ffn=True), "mlp=swiglu|mlp_ratio"),
    "no qkv bias": ("Dinov2Config", "Dinov2Model", dict(qkv_bias=False), "qkv_bias=none"),
    "registers": (
        "Dinov2WithRegistersConfig",
        "Dinov2WithRegistersModel",
        dict(num_register_tokens=2),
        "register tokens",
    ),
    "rope": ("DINOv3ViTConfig", "DINOv3ViTModel", dict(intermediate_size=64), "rope=dinov3"),
    "pre-norm": ("CLIPVisionConfig", "CLIPVisionModel", dict(intermediate_size=64, hidden_act="gelu"), "norm before"),
    "attention pooling": ("SiglipVisionConfig", "SiglipVisionModel", dict(intermediate_size=64), "class token"),
}


@pytest.mark.parametrize("feature", HUGGING_FACE)
def test_a_hugging_face_model_that_computes_something_else_is_refused(gene, feature):
    transformers = pytest.importorskip("transformers")
    config, model, changes, message = HUGGING_FACE[feature]
    sizes = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=4)
    if "Dinov2" not in config:
        sizes["intermediate_size"] = 64
    refuses(shaken(getattr(transformers, model)(getattr(transformers, config)(**{**sizes, **changes}))), gene, message)


# ---------------------------------------------------------------------- a backbone that gives tokens, and its last norm


def token_backbones(final_norm: bool) -> dict:
    """Backbones of every framework that leave the norm behind the layers to an argument."""
    pytest.importorskip("mmseg.models")
    from mmlearngene.registry import MODELS

    eps = dict(norm_cfg=dict(type="LN", eps=1e-6), final_norm=final_norm)
    arch = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=64)
    seg = dict(embed_dims=16, num_layers=2, num_heads=2, patch_bias=True, out_indices=(1,), **eps)
    pretrain = dict(type="mmpretrain.VisionTransformer", arch=arch, out_type="featmap", **eps)
    sizes = dict(img_size=16, patch_size=4)
    return {
        "mmseg": lambda: MODELS.build(dict(type="mmseg.VisionTransformer", **sizes, **seg)),
        "mmpretrain": lambda: MODELS.build(dict(pretrain, **sizes)),
        "timm": lambda: timm_vit(init_values=None, global_pool="", final_norm=final_norm, num_classes=0),
    }


def tokens_of(model: nn.Module) -> torch.Tensor:
    """Patch tokens as (B, patches, channels)."""
    model.eval()
    with torch.no_grad():
        found = model(images((16, 16)))
    return found[-1].flatten(2).mT if isinstance(found, (tuple, list)) else found[:, 1:]


@pytest.mark.parametrize("framework", ["mmseg", "mmpretrain", "timm"])
def test_tokens_without_the_last_norm_are_not_taken_for_tokens_with_it(framework):
    weights = random_weights(ViTSpec.parse("h2-l2", **{**PLAIN, **CLS}))
    gene = extract("pre-fin", weights)
    expected = outputs(build(weights), images((16, 16)))[0][:, 1:]
    bare = token_backbones(False)[framework]()
    refuses(bare, gene, "final norm .* final_norm=False in the model, final_norm=True in the learngene; adapt=True")
    report = initialize(bare, gene, adapt=True)
    assert report.verdict == "adapted: the final norm is left out: not the same computation"
    assert (tokens_of(bare) - expected).abs().max() > 0.1 * expected.abs().max()
    normed = token_backbones(True)[framework]()
    assert initialize(normed, gene).verdict == "same computation"
    torch.testing.assert_close(tokens_of(normed), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("framework", ["mmseg", "mmpretrain", "timm"])
@pytest.mark.parametrize("fields", [dict(pool="avg_norm"), dict(pool="norm_avg", final_norm=False)])
def test_tokens_of_a_learngene_without_a_norm_for_them(framework, fields):
    """It has none, or one of the mean alone: a backbone without a norm computes the same, one with it says so."""
    weights = random_weights(ViTSpec.parse("h2-l2", **{**PLAIN, "class_token": True, **fields}))
    gene = extract("pre-fin", weights)
    model, bare = build(weights).eval(), token_backbones(False)[framework]()
    model.fc_norm = nn.Identity()
    expected = outputs(model, images((16, 16)))[0][:, 1:]
    assert initialize(bare, gene).verdict == "same computation"
    torch.testing.assert_close(tokens_of(bare), expected, rtol=0, atol=1e-5)
    verdict = initialize(token_backbones(True)[framework](), gene).verdict
    assert verdict == "adapted: the final norm of the tokens starts fresh, as the learngene has none there"


# ---------------------------------------------------------------------- a gated MLP


def gated_models() -> dict:
    """Models with a gated MLP of an activation that is no SiLU."""
    transformers = pytest.importorskip("transformers")
    from timm.layers import GluMlp, SwiGLU
    from timm.models.eva import Eva

    sizes = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=4)
    timm_sizes = dict(img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=0)

    def eva() -> nn.Module:
        model = Eva(**timm_sizes, swiglu_mlp=True)
        for block in model.blocks:
            block.mlp.act = nn.GELU()
        return model

    return {
        "DINOv3": lambda: transformers.DINOv3ViTModel(
            transformers.DINOv3ViTConfig(**sizes, intermediate_size=64, use_gated_mlp=True)
        ),
        "DINOv3, relu": lambda: transformers.DINOv3ViTModel(
            transformers.DINOv3ViTConfig(**sizes, intermediate_size=64, use_gated_mlp=True, hidden_act="relu")
        ),
        "timm, packed": lambda: timm_vit(mlp_layer=GluMlp, act_layer=nn.GELU),
        "timm, apart": lambda: timm_vit(mlp_layer=SwiGLU, act_layer=nn.GELU),
        "Eva": eva,
    }


@pytest.mark.parametrize("kind", ["DINOv3", "DINOv3, relu", "timm, packed", "timm, apart", "Eva"])
def test_a_gate_that_is_not_silu_is_refused_by_name(kind):
    with pytest.raises(LearngeneError, match="a gated MLP with the activation '(gelu|relu)' is not known here"):
        load_ancestry(gated_models()[kind]())


# ---------------------------------------------------------------------- adapting

HARMLESS = {  # the ancestry's features, the model's
    "layer scale starts at 1": (dict(), dict(init_values=0.1)),
    "layer scale is folded": (dict(init_values=0.1), dict()),
    "biases start at 0": (dict(qkv_bias="none", proj_bias=False, mlp_bias=False), dict()),
    "the bias of keys starts at 0": (EVA, CLS),
    "the bias of keys is dropped": (CLS, EVA),
    "positions of prefix tokens are added": (dict(reg_tokens=2, **CLS), dict(reg_tokens=2, no_embed_class=True, **CLS)),
    "positions of prefix tokens start at 0": (dict(no_embed_class=True, **CLS), CLS),
    "positions start at 0": (dict(pos_embed="none"), dict()),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_adapted_weights_compute_the_same(name):
    torch.manual_seed(0)
    own, other = (ViTSpec.parse("h2-l3", **{**PLAIN, **fields}) for fields in HARMLESS[name])
    weights = random_weights(own)
    adapted, done = adapt_weights(weights, other)
    assert adapted.spec.features() == other.features() and len(done) == len(
        [n for n, v in own.features().items() if v != other.features()[n]]
    )
    x = images(own.img_size)
    torch.testing.assert_close(outputs(build(adapted), x)[-1], outputs(build(weights), x)[-1], rtol=0, atol=2e-6)
    # and so it does through initialize
    gene = extract("pre-fin", weights)
    model = shaken(build(random_weights(other)))
    with pytest.raises(LearngeneError, match="adapt=True adapts the weights"):
        initialize(model, gene)
    report = initialize(model, gene, adapt=True)
    assert report.verdict == f"adapted: {'; '.join(done)}" and report.share == 1
    torch.testing.assert_close(outputs(model, x)[-1], outputs(build(weights), x)[-1], rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "fields", [dict(qk_norm=True), dict(act="relu"), dict(pre_norm=True, patch_bias=False), dict(reg_tokens=1)]
)
def test_what_is_not_harmless_is_refused_whatever_is_asked_for(fields):
    gene = extract("pre-fin", random_weights(ViTSpec.parse("h2-l2", **PLAIN)))
    model = build(random_weights(ViTSpec.parse("h2-l2", **{**PLAIN, **fields})))
    with pytest.raises(LearngeneError, match="cannot be made"):
        initialize(model, gene, adapt=True)


@pytest.mark.parametrize("fields", [dict(rope="cat"), dict(qk_norm=True)])
def test_a_bias_of_keys_that_has_an_effect_is_not_dropped(fields):
    """Rotated, or normed with what it is added to, it is not the same for every key."""
    own = ViTSpec.parse("h2-l2", **{**PLAIN, **CLS, **fields})
    with pytest.raises(LearngeneError, match="qkv_bias=all cannot be made qkv_bias=qv"):
        adapt_weights(random_weights(own), own.replace(qkv_bias="qv"))


def test_a_framework_that_lacks_a_feature_takes_what_computes_the_same():
    torch.manual_seed(0)
    weights = random_weights(ViTSpec.parse("h2-l2", **{**PLAIN, **CLS, "patch_bias": False}))
    with pytest.raises(LearngeneError, match="no class of timm can be"):
        build(weights, "timm")
    adapted = build(weights, "timm", adapt=True)
    assert torch.equal(adapted.patch_embed.proj.bias, torch.zeros(16))
    other = build(weights, "mmpretrain")
    x = images((16, 16))
    torch.testing.assert_close(outputs(adapted, x)[-1], outputs(other, x)[-1], rtol=0, atol=1e-5)


# ---------------------------------------------------------------------- the core stands alone


def test_the_core_imports_no_openmmlab():
    import subprocess
    import sys

    code = """
import sys
import mmlearngene, mmlearngene.cli, mmlearngene.learngenes.papers, mmlearngene.use.figures
outside = ("mmengine", "mmcv", "mmpretrain", "mmseg", "transformers")
wrong = [name for name in sys.modules if name.partition(".")[0] in outside]
assert not wrong, wrong[:3]
inside = ("models", "engine", "datasets", "registry")
wrong = [name for name in sys.modules if name.startswith("mmlearngene.") and name.split(".")[1] in inside]
assert not wrong, wrong
"""
    subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":
    print(as_table())
