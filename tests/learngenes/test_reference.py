"""Whatever class of a framework is taken for a spec computes what the words of the spec say."""

import random

import pytest
import torch

from mmlearngene import LearngeneError, ViTSpec, build
from mmlearngene.frameworks import FRAMEWORKS, find_vit, layout_for
from mmlearngene.testing import FEATURES, PLAIN, random_weights, spec_of
from mmlearngene.use.export.onnx import onnx_bytes
from mmlearngene.use.latency import measured
from mmlearngene.use.planning import Cost

from ..support.reference import reference
from ..support.zoo import images, outputs

CHOICES = dict(
    num_heads=(1, 2, 3), num_layers=(1, 2), head_dim=(4, 7), mlp_ratio=(1, 2.5, 4), img_size=(8, (12, 8)),
    class_token=(False, True), pool=("avg_norm", "norm_avg", "cls", "cls", "map"), act=("gelu", "gelu", "silu", "relu"),
    mlp=("mlp", "mlp", "swiglu", "swiglu_packed"), qkv_bias=("all", "all", "qv", "none"),
)  # fmt: skip
SELDOM = dict(
    init_values=0.1, dist_token=True, reg_tokens=2, no_embed_class=True, pos_embed="none", pre_norm=True,
    norm="rmsnorm", patch_norm=True, qk_norm=True, scale_attn_norm=True, scale_mlp_norm=True, post_norm=True,
    final_norm=False, pool_include_prefix=True, rel_pos_bias=True, embed_dims=12, patch_bias=False,
)  # fmt: skip
FOUND = {  # what once was computed otherwise, or not at all; and who can have it
    "silu in Eva": (dict(act="silu", qkv_bias="qv"), []),
    "attention pooling behind a gated MLP": (dict(pool="map", mlp="swiglu", qkv_bias="qv", act="silu"), []),
    "attention pooling as wide as a packed gate": (dict(pool="map", mlp="swiglu_packed", act="silu"), []),
    "attention pooling where heads differ": (dict(pool="map", num_heads=(2, 1, 3), embed_dims=12), []),
    "a mean that nothing normalises, gated": (dict(final_norm=False, mlp="swiglu", act="silu", mlp_ratio=2), ["timm"]),
    "a mean that nothing normalises, relative positions": (
        dict(final_norm=False, class_token=True, rel_pos_bias=True, qkv_bias="qv"),
        [],
    ),
    "a distillation token without positions": (
        dict(class_token=True, dist_token=True, pool="cls", pos_embed="none"),
        [],
    ),
    "a mean of Eva's over all tokens": (dict(class_token=True, qkv_bias="qv", pool_include_prefix=True), []),
    "an oblong DINOv2, which Hugging Face runs in InternVL's class alone": (
        dict(class_token=True, pool="cls", init_values=0.1, num_classes=0, img_size=(16, 8)),
        ["timm", "hf", "mmpretrain"],
    ),
    "no positions at all, without biases": (
        dict(class_token=True, pool="cls", pos_embed="none", qkv_bias="none"),
        ["timm", "mmpretrain"],
    ),
    "no positions of tokens that are not there": (
        dict(no_embed_class=True, pool_include_prefix=True),
        ["timm", "mmpretrain"],
    ),
    "a gate of Beit's": (dict(class_token=True, rel_pos_bias=True, qkv_bias="qv", mlp="swiglu", act="silu"), ["timm"]),
}

TILED = dict(rope="tiled", mlp="swiglu_packed", act="silu", num_classes=0)


def drawn(seed: int) -> ViTSpec:
    """Some ViT, which some class has or has not."""
    rng = random.Random(seed)
    while True:
        fields = {name: rng.choice(values) for name, values in CHOICES.items()}
        fields |= {name: value for name, value in SELDOM.items() if rng.random() < 0.15}
        if fields.get("pre_norm"):
            fields["patch_bias"] = rng.random() < 0.2
        if fields.get("rel_pos_bias") and {"dist_token", "reg_tokens"} & fields.keys():
            continue  # whose offsets nobody has defined
        try:
            return ViTSpec(**{**PLAIN, **fields})
        except LearngeneError:
            pass


def able_to(spec: ViTSpec, framework: str) -> bool:
    try:
        layout_for(spec, framework)
    except LearngeneError:
        return False
    return True


def check(spec: ViTSpec) -> list[str]:
    """The frameworks that have a class for a spec, each of which computes what it says and is read as what it is."""
    weights, x, able = random_weights(spec), images(spec.img_size), []
    expected = reference(weights, x)
    for framework in FRAMEWORKS:
        if not able_to(spec, framework):
            continue
        model = build(weights, framework)
        found = find_vit(model)
        if not found.gives_tokens:
            assert found.spec.features() == spec.features(), framework
            torch.testing.assert_close(outputs(model, x)[-1], expected, rtol=1e-5, atol=2e-5)
        able.append(framework)
    return able


@pytest.fixture(autouse=True)
def frameworks():
    torch.manual_seed(0)
    for name in ("mmpretrain", "mmseg", "transformers"):
        pytest.importorskip(name)


@pytest.mark.parametrize("seed", range(16))
def test_some_vit(seed):
    check(drawn(seed))


@pytest.mark.parametrize("name", FOUND)
def test_what_once_was_wrong(name):
    fields, able = FOUND[name]
    assert check(ViTSpec(**{**PLAIN, "num_heads": 2, "num_layers": 3, **fields})) == able


SWINS = {  # a Swin's fields, and who can have it; all of them compute the same
    "another hidden width": (dict(mlp_ratio=2), ["timm", "hf", "mmpretrain"]),
    "an oblong image": (dict(img_size=(32, 64), depths=(2, 1, 2, 1)), ["timm", "hf", "mmpretrain"]),
    "one window high": (dict(img_size=(32, 64)), ["hf", "mmpretrain"]),
    "windows that need padding": (dict(img_size=40), ["hf", "mmpretrain"]),
    "padded where nothing shifts": (dict(img_size=40, depths=(1, 1, 1, 1)), ["timm", "hf", "mmpretrain"]),
    "a grid smaller than its windows": (dict(img_size=16), []),
}


@pytest.mark.parametrize("name", SWINS)
def test_a_swin_computes_the_same_everywhere_or_is_refused(name):
    fields, able = SWINS[name]
    spec = spec_of("Swin").replace(**{"depths": (2, 2, 2, 2), **fields})
    weights, found = random_weights(spec), {}
    for framework in ("timm", "hf", "mmpretrain"):
        if able_to(spec, framework):
            model = build(weights, framework)
            assert find_vit(model).spec.img_size == spec.img_size
            found[framework] = outputs(model, images(spec.img_size))[-1]
    assert list(found) == able
    for logits in found.values():
        torch.testing.assert_close(logits, found[able[0]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("framework", ["timm", "mmpretrain"])
def test_looking_at_a_model_moves_no_random_numbers(framework):
    model = build(random_weights(spec_of("Swin")), framework)  # whose class is no model on the meta device
    before = torch.get_rng_state()
    find_vit(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_backbone_that_only_mmpretrain_has_is_measured_and_exported():
    pytest.importorskip("onnxruntime")
    spec = ViTSpec(**{**PLAIN, **FEATURES["class token"], **TILED}, num_heads=1, num_layers=2)
    cost = Cost(spec, spec.num_params, spec.macs, False)
    assert measured(cost, torch.device("cpu")).latency > 0
    assert onnx_bytes(random_weights(spec), {})[1] < 1e-4
