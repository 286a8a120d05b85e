"""Layouts: canonical weights to and from timm and mmpretrain, both ways."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer

from mmlearngene import LearngeneError, ViTSpec, ViTWeights
from mmlearngene.frameworks.base import UNSEEN
from mmlearngene.frameworks.mmpretrain import SWIN, backbone_cfg, classifier_cfg
from mmlearngene.frameworks.mmpretrain import VIT as MMPRETRAIN
from mmlearngene.frameworks.modules import _attributes
from mmlearngene.frameworks.timm import VIT as TIMM
from mmlearngene.frameworks.timm import model_kwargs

from ..support.parity import unseen

LAYOUTS = [TIMM, MMPRETRAIN]


@st.composite
def specs(draw):
    """Any small ViT."""
    number = st.integers(1, 3)
    class_token = draw(st.booleans())
    patch = draw(st.sampled_from([2, 4]))
    side = patch * draw(number)
    return ViTSpec(
        draw(number),
        draw(number),
        head_dim=draw(st.sampled_from([2, 4])),
        mlp_ratio=draw(st.sampled_from([1, 2, 4])),
        patch_size=patch,
        img_size=draw(st.sampled_from([side, (side, patch * draw(number))])),
        in_channels=draw(number),
        num_classes=draw(st.integers(0, 4)),
        class_token=class_token,
        pool=draw(st.sampled_from(["avg_norm", "norm_avg"] + ["cls"] * class_token)),
        norm_eps=draw(st.sampled_from([1e-6, 1e-5])),
    )


def random_weights(spec):
    return ViTWeights(spec, {name: torch.randn(shape) for name, shape in spec.shapes().items()})


def read(layout, state, spec):
    """The state dict read with all that no tensor shows."""
    return layout.from_state_dict(state, **unseen(spec))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.framework)
@settings(max_examples=30, deadline=None)
@given(spec=specs())
def test_round_trip(layout, spec):
    weights = random_weights(spec)
    back = read(layout, layout.state_dict(weights), spec)
    assert back.spec == spec
    assert back.tensors.keys() == weights.tensors.keys()
    assert all(torch.equal(tensor, weights.tensors[name]) for name, tensor in back.tensors.items())


@settings(max_examples=20, deadline=None)
@given(spec=specs())
def test_timm_models_take_the_state_and_give_it_back(spec):
    state = TIMM.state_dict(random_weights(spec))
    model = VisionTransformer(**model_kwargs(spec))
    model.load_state_dict(state, strict=True)
    again = TIMM.state_dict(read(TIMM, model.state_dict(), spec))
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.items())


@settings(max_examples=10, deadline=None)
@given(spec=specs())
def test_mmpretrain_computes_the_logits_of_timm(spec):
    pytest.importorskip("mmpretrain")
    from mmpretrain.registry import MODELS

    assume(spec.num_classes)
    weights = random_weights(spec)
    with torch.no_grad():
        for tensor in weights.tensors.values():
            tensor.mul_(0.3)
    timm_model = VisionTransformer(**model_kwargs(spec)).eval()
    timm_model.load_state_dict(TIMM.state_dict(weights), strict=True)
    classifier = MODELS.build(classifier_cfg(spec)).eval()
    classifier.load_state_dict(MMPRETRAIN.state_dict(weights), strict=True)
    images = torch.randn(2, spec.in_channels, *spec.img_size)
    with torch.no_grad():
        torch.testing.assert_close(classifier(images), timm_model(images), atol=1e-5, rtol=1e-5)
    again = read(MMPRETRAIN, classifier.state_dict(), spec)
    assert all(torch.equal(tensor, weights.tensors[name]) for name, tensor in again.tensors.items())


def test_overrides_of_the_configs():
    spec = ViTSpec(2, 3, img_size=32, num_classes=5)
    assert backbone_cfg(spec, drop_path_rate=0.1)["drop_path_rate"] == 0.1
    cfg = classifier_cfg(spec, backbone=dict(out_type="featmap"), head=dict(topk=(1,)), train_cfg=dict(augments=[]))
    assert cfg["backbone"]["out_type"] == "featmap"
    assert (cfg["head"]["topk"], cfg["head"]["num_classes"], cfg["train_cfg"]) == ((1,), 5, dict(augments=[]))


def test_the_state_dict_only_views_the_weights():
    weights = random_weights(ViTSpec(2, 2, head_dim=4, img_size=4, patch_size=2, num_classes=3))
    addresses = {tensor.untyped_storage().data_ptr() for tensor in weights.tensors.values()}
    state = TIMM.state_dict(weights)
    assert {tensor.untyped_storage().data_ptr() for tensor in state.values()} == addresses


def test_tensors_that_are_not_given_stay_out():
    spec = ViTSpec(1, 3, head_dim=4, img_size=4, patch_size=2, num_classes=0)
    tensors = {"fc1.bias": torch.zeros(1, 16), "norm.bias": torch.zeros(4)}
    state = MMPRETRAIN.state_dict(ViTWeights(spec, tensors, (0, None, 0)))
    assert set(state) == {
        "backbone.ln2.bias",
        "backbone.layers.0.ffn.layers.0.0.bias",
        "backbone.layers.2.ffn.layers.0.0.bias",
    }


# ---------------------------------------------------------------- inference of the spec


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.framework)
@pytest.mark.parametrize("class_token, pool", [(False, "avg_norm"), (False, "norm_avg"), (True, "cls")])
def test_names_and_shapes_show_the_spec(layout, class_token, pool):
    spec = ViTSpec(2, 3, img_size=32, patch_size=8, num_classes=5, class_token=class_token, pool=pool, mlp_ratio=3)
    known = {name: value for name, value in unseen(spec).items() if name != "img_size"}
    assert layout.from_state_dict(layout.state_dict(random_weights(spec)), **known).spec == spec


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.framework)
def test_what_no_tensor_shows_is_asked_for_never_guessed(layout):
    spec = ViTSpec(2, 3, img_size=32, patch_size=8, num_classes=5, class_token=True, pool="cls")
    state, known = layout.state_dict(random_weights(spec)), unseen(spec)
    for name in UNSEEN:
        fields = {key: value for key, value in known.items() if key != name}
        with pytest.raises(LearngeneError, match=f"do not show {name}; name a model that is like it"):
            layout.from_state_dict(state, **fields)
    plain = spec.replace(class_token=False, pool="avg_norm")  # whose norm has a name of its own
    fields = {key: value for key, value in known.items() if key != "pool"}
    assert layout.from_state_dict(layout.state_dict(random_weights(plain)), **fields).spec == plain


def test_a_state_dict_of_another_network_is_refused():
    spec = ViTSpec(2, 2, head_dim=4, img_size=4, patch_size=2, num_classes=3)
    state, known = TIMM.state_dict(random_weights(spec)), unseen(spec)
    with pytest.raises(LearngeneError, match="not a ViT in the layout of mmpretrain's.*it starts with patch_embed"):
        MMPRETRAIN.from_state_dict(state, **known)
    with pytest.raises(LearngeneError, match="not understood: blocks.0.attn.extra$"):
        TIMM.from_state_dict({**state, "blocks.0.attn.extra": torch.ones(8)}, **known)
    missing = {name: tensor for name, tensor in state.items() if name != "blocks.1.norm2.bias"}
    with pytest.raises(LearngeneError, match="blocks.1.norm2.bias is missing"):
        TIMM.from_state_dict(missing, **known)
    with pytest.raises(LearngeneError, match=r"blocks.1.norm2.bias is \(3,\), not of the canonical shape \(8,\)"):
        TIMM.from_state_dict({**missing, "blocks.1.norm2.bias": torch.ones(3)}, **known)
    with pytest.raises(LearngeneError, match="3 heads do not divide the width 8; the nearest that do are [24]"):
        TIMM.from_state_dict(state, **{**known, "num_heads": 3})


@pytest.mark.parametrize(
    "name", ["blocks.1.mlp.fc2.weight", "blocks.0.attn.proj.weight", "patch_embed.proj.weight", "head.weight"]
)
def test_a_tensor_of_the_right_count_but_another_shape_is_refused(name):
    spec = ViTSpec(2, 2, head_dim=4, img_size=4, patch_size=2, num_classes=3)
    state = TIMM.state_dict(random_weights(spec))
    tensor = state[name]
    flipped = tensor.flatten(1).T.contiguous() if tensor.ndim == 2 else tensor.transpose(0, 1).contiguous()
    if flipped.shape == tensor.shape:  # a square one: no shape shows it
        flipped = tensor.reshape(-1, tensor.shape[-1] * 2)
    with pytest.raises(LearngeneError):
        TIMM.from_state_dict({**state, name: flipped}, **unseen(spec))


def test_oblong_patches_are_refused():
    spec = ViTSpec(2, 2, head_dim=4, img_size=4, patch_size=2, num_classes=3)
    state = TIMM.state_dict(random_weights(spec))
    state["patch_embed.proj.weight"] = torch.ones(8, 3, 2, 4)
    with pytest.raises(LearngeneError, match=r"patches of \(2, 4\) are not square"):
        TIMM.from_state_dict(state, **unseen(spec))


@pytest.mark.parametrize("name", ["pos_embed", "blocks.0.mlp.fc1.weight"])
def test_a_network_without_a_tensor_that_shows_its_size_is_refused(name):
    spec = ViTSpec(2, 2, head_dim=4, img_size=4, patch_size=2, num_classes=3)
    state = TIMM.state_dict(random_weights(spec))
    del state[name]
    if name == "pos_embed":  # a ViT without positions is one, too
        assert TIMM.from_state_dict(state, **unseen(spec)).spec == spec.replace(pos_embed="none")
        return
    with pytest.raises(LearngeneError, match=name):
        TIMM.from_state_dict(state, **unseen(spec))


def test_what_tensors_show_after_all():
    tables = ViTSpec(2, 2, rel_pos_bias=True, pos_embed="none", head_dim=4, img_size=8, patch_size=4)
    mixed = ViTSpec(2, 2, rope="mixed", head_dim=4, img_size=8, patch_size=4)
    assert TIMM.shows("num_heads", tables) and not TIMM.shows("num_heads", mixed)
    assert TIMM.shows("rope", mixed) and not TIMM.shows("rope", tables)


def test_attributes_are_compared_where_both_modules_have_a_plain_value():
    one, other = torch.nn.LayerNorm(4, eps=1e-3), torch.nn.LayerNorm(4)
    one.more, one.other, other.other = 1, object(), 1
    pairs = _attributes(one, other)
    assert pairs["eps"] == (1e-3, 1e-5) and not {"more", "other"} & pairs.keys()


@pytest.mark.parametrize("ratio, reason", [(4, None), (5, "a hidden width of 40 "), (2, "a hidden width of 16 ")])
def test_a_narrow_swin_of_mmpretrain_has_four_times_its_width(ratio, reason):
    swin = dict(depths=(2, 2, 2, 2), window_size=4, patch_norm=True, rel_pos_bias=True, pos_embed="none")
    spec = ViTSpec(1, 8, head_dim=4, embed_dims=8, mlp_ratio=ratio, img_size=64, patch_size=2, pool="norm_avg", **swin)
    found = SWIN.cannot(spec)
    assert found is None if reason is None else found.startswith(reason)


def test_the_nearest_number_of_heads_may_be_one():
    spec = ViTSpec(1, 1, head_dim=5, img_size=4, patch_size=4)
    with pytest.raises(LearngeneError, match="2 heads do not divide the width 5; the nearest that do are 1"):
        TIMM.from_state_dict(TIMM.state_dict(random_weights(spec)), **{**unseen(spec), "num_heads": 2})
