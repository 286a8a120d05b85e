from functools import partial

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mmlearngene import LearngeneError, ViTSpec, extract, load_ancestry
from mmlearngene.frameworks import layout_for
from mmlearngene.frameworks.mmpretrain import classifier_cfg
from mmlearngene.frameworks.timm import VIT as TIMM
from mmlearngene.frameworks.timm import model_kwargs
from mmlearngene.testing import random_weights

from ..support.parity import timm_logits, unseen

TINY = dict(head_dim=8, img_size=16, patch_size=4, num_classes=5)
KINDS = {
    "avg_norm": dict(pool="avg_norm"),
    "norm_avg": dict(pool="norm_avg"),
    "cls": dict(pool="cls", class_token=True),
    "avg_norm with class token": dict(pool="avg_norm", class_token=True),
}


def told(spec: ViTSpec) -> dict:
    """What a user has to tell of a checkpoint of square images."""
    return {name: value for name, value in unseen(spec).items() if name != "img_size"}


@pytest.fixture(params=KINDS)
def spec(request) -> ViTSpec:
    return ViTSpec.parse("h2-l3", **TINY, **KINDS[request.param])


def shaken(model: nn.Module) -> nn.Module:
    """The model with no tensor at a special start value."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def timm_model(spec: ViTSpec) -> nn.Module:
    return shaken(VisionTransformer(**model_kwargs(spec)))


def mmpretrain_model(spec: ViTSpec, **head) -> nn.Module:
    mmpretrain = pytest.importorskip("mmpretrain")
    from mmpretrain.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    return shaken(mmpretrain.registry.MODELS.build(classifier_cfg(spec, head=head)))


def assert_same_function(weights, model: nn.Module, spec: ViTSpec) -> None:
    assert weights.spec == spec
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(timm_logits(weights, images), model(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("build", [timm_model, mmpretrain_model])
@pytest.mark.parametrize("wrap", ["flat", "model", "state_dict", "safetensors", "module."])
def test_a_checkpoint_is_the_model_that_wrote_it(build, wrap, spec, tmp_path):
    model = TIMM.make(spec)
    state = model.state_dict()
    path = tmp_path / ("vit.safetensors" if wrap == "safetensors" else "vit.pth")
    if wrap == "safetensors":
        save_file(state, path)
    elif wrap == "module.":
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    else:
        torch.save(state if wrap == "flat" else {wrap: state, "epoch": 3}, path)
    assert_same_function(load_ancestry(path, **told(spec)), model, spec)


def test_mmpretrains_own_vit_head(tmp_path):
    spec = ViTSpec.parse("h2-l1", **TINY, class_token=True, pool="cls")
    model = mmpretrain_model(spec, type="mmpretrain.VisionTransformerClsHead")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "vit.pth")
    assert_same_function(load_ancestry(tmp_path / "vit.pth", **told(spec)), model, spec)


def test_a_bare_mmpretrain_backbone(spec, tmp_path):
    model = mmpretrain_model(spec)
    torch.save(model.backbone.state_dict(), tmp_path / "backbone.pth")
    weights = load_ancestry(tmp_path / "backbone.pth", **told(spec))
    assert weights.spec == spec.replace(num_classes=0)
    expected = model.backbone.layers[1].attn.qkv.weight
    assert torch.equal(weights.layers()[1]["qkv.weight"].flatten(0, 2), expected)


def test_nothing_is_guessed(tmp_path):
    spec = ViTSpec.parse("h2-l1", **{**TINY, "head_dim": 64})
    torch.save(timm_model(spec).state_dict(), tmp_path / "vit.pth")
    with pytest.raises(LearngeneError, match="do not show num_heads, norm_eps, act, post_norm, rope; name a"):
        load_ancestry(tmp_path / "vit.pth")


@pytest.mark.parametrize("like", ["name", "model", "config", "spec", "file"])
def test_like_another_model(tmp_path, like):
    """Sizes are the checkpoint's own; what its tensors do not show is the other's."""
    spec = ViTSpec.parse("h2-l3", **{**TINY, "head_dim": 64}, class_token=True, pool="cls")
    model = timm_model(spec)
    path = tmp_path / "vit.pth"
    torch.save(model.state_dict(), path)
    other = spec.replace(num_heads=5, num_layers=2)
    if like == "name":
        like = "deit_tiny_patch16_224"
    elif like == "model":
        like = timm_model(other)
    elif like == "spec":
        like = other
    elif like == "config":
        pytest.importorskip("mmpretrain")
        like = tmp_path / "like.py"
        like.write_text(f"model = {classifier_cfg(other)!r}")
    else:  # our own files say what they are
        from mmlearngene.cli import main

        extract("pre-fin", path, like=other, num_heads=2).save(tmp_path / "gene.safetensors")
        path, like = tmp_path / "expanded.safetensors", None
        assert main(["expand", str(tmp_path / "gene.safetensors"), "--arch", "h2-l3", "-o", str(path)]) == 0
    if path.name == "vit.pth":  # of another width, whose heads may be of any
        with pytest.raises(LearngeneError, match=r"expected num_heads=2 \(--num-heads 2\) if heads have 64 channels"):
            load_ancestry(path, like=like)
    assert_same_function(load_ancestry(path, like=like, num_heads=2), model, spec)


def test_heads_and_image_are_not_guessed_from_another_size(tmp_path):
    """Heads at another width, and the image of what has no positions to show it."""
    spec = ViTSpec.parse("h6-l2", **{**TINY, "head_dim": 4})
    torch.save(timm_model(spec).state_dict(), tmp_path / "vit.pth")
    same = spec.replace(num_layers=3)
    assert load_ancestry(tmp_path / "vit.pth", like=same).spec == spec
    for like in (ViTSpec.parse("h4-l2", **TINY), ViTSpec.parse("h3-l2", **{**TINY, "head_dim": 4})):
        with pytest.raises(LearngeneError, match="which does not tell its heads; expected num_heads="):
            load_ancestry(tmp_path / "vit.pth", like=like)
    rotary = ViTSpec.parse("h2-l2", **TINY, rope="cat", pos_embed="none", qkv_bias="qv", mlp="mlp")
    swin = ViTSpec.parse("h1,2-l2,1", head_dim=8, embed_dims=8, img_size=32, patch_size=4, window_size=4, num_classes=5)
    for spec in (rotary, swin):
        torch.save(layout_for(spec, "timm").state_dict(random_weights(spec)), tmp_path / "other.pth")
        for side in (16, 64):
            found = load_ancestry(tmp_path / "other.pth", like=spec.replace(img_size=side)).spec
            assert found.img_size == (side, side)
        fields = {name: value for name, value in unseen(spec).items() if name != "img_size"}
        with pytest.raises(LearngeneError, match="do not show img_size; name a model that is like it"):
            load_ancestry(tmp_path / "other.pth", **fields)


def test_fields_override_what_the_other_model_tells(tmp_path):
    spec = ViTSpec.parse("h4-l1", **TINY, norm_eps=1e-3)
    torch.save(timm_model(spec).state_dict(), tmp_path / "vit.pth")
    weights = load_ancestry(tmp_path / "vit.pth", like="deit_tiny_patch16_224", num_heads=4, norm_eps=1e-3)
    assert weights.spec == spec


def test_fields_that_no_tensor_shows(tmp_path):
    spec = ViTSpec.parse("h2-l1", **{**TINY, "img_size": (8, 32)}, norm_eps=1e-5)
    model = timm_model(spec)
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    weights = load_ancestry(tmp_path / "vit.pth", **unseen(spec))
    images = torch.randn(1, 3, 8, 32)
    assert weights.spec == spec
    with torch.no_grad():
        assert torch.equal(timm_logits(weights, images), model(images))


def test_a_timm_name_gives_the_pretrained_model(monkeypatch):
    model = shaken(timm.create_model("test_vit", pretrained=False, norm_layer=partial(nn.LayerNorm, eps=3e-4)))
    asked = {}

    def create_model(name, **options):
        asked.update(options, name=name)
        return model

    monkeypatch.setattr(timm, "create_model", create_model)
    weights = load_ancestry("test_vit")
    assert asked == {"name": "test_vit", "pretrained": True}
    assert weights.spec.num_heads == model.blocks[0].attn.num_heads
    assert weights.spec.norm_eps == 3e-4
    state = TIMM.state_dict(weights)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_missing_files_and_unknown_names(tmp_path):
    torch.save({}, tmp_path / "ancestry.pth")
    with pytest.raises(LearngeneError, match="no such file.*did you mean .*ancestry.pth"):
        load_ancestry(tmp_path / "ancestri.pth")
    with pytest.raises(LearngeneError, match="neither a checkpoint file .* nor a timm model; nearest.*deit_small"):
        load_ancestry("deit_small_patch99")


def test_not_a_vit(tmp_path):
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(LearngeneError, match="is no ViT in a layout that is known here .*its tensors start with conv1"):
        load_ancestry(tmp_path / "resnet.pth")
    state = timm_model(ViTSpec.parse("h2-l2", **TINY)).state_dict()
    del state["blocks.1.mlp.fc2.bias"]
    torch.save({**state, "blocks.0.extra": torch.ones(16)}, tmp_path / "vit.pth")
    with pytest.raises(LearngeneError, match="blocks.1.mlp.fc2.bias is missing; not understood: blocks.0.extra"):
        load_ancestry(tmp_path / "vit.pth", **told(ViTSpec.parse("h2-l2", **TINY)))
    (tmp_path / "text.pth").write_text("no checkpoint")
    with pytest.raises(LearngeneError, match="text.pth cannot be read"):
        load_ancestry(tmp_path / "text.pth")


def test_wrong_heads(tmp_path):
    torch.save(timm_model(ViTSpec.parse("h2-l1", **TINY)).state_dict(), tmp_path / "vit.pth")
    with pytest.raises(LearngeneError, match="3 heads do not divide the width 16; the nearest that do are [24]"):
        load_ancestry(tmp_path / "vit.pth", **{**told(ViTSpec.parse("h2-l1", **TINY)), "num_heads": 3})


def test_a_learngene_knows_how_its_ancestrys_images_were_normalised(tmp_path):
    model = timm.create_model("vit_tiny_patch16_224", num_classes=2)
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    found = extract("first-k", tmp_path / "vit.pth", like="vit_tiny_patch16_224").provenance
    told = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    assert found["preprocessing"] == {**told, "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center"}
    assert "preprocessing" not in extract("first-k", model).provenance
