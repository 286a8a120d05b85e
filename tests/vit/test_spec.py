"""Sizes: parsing, exact parameter and FLOP counts, spreading layers."""

from functools import partial

import pytest
import timm.layers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch.utils.flop_counter import FlopCounterMode

from mmlearngene import LearngeneError, ViTSpec, ViTWeights
from mmlearngene.frameworks import build as make_model
from mmlearngene.frameworks.timm import model_kwargs
from mmlearngene.testing import random_weights
from mmlearngene.vit.tensors import start_value
from mmlearngene.vit.weights import spread

SPECS = [
    ViTSpec(2, 3, head_dim=8, img_size=32, num_classes=10),
    ViTSpec(3, 2, head_dim=4, img_size=(32, 48), patch_size=8, num_classes=7, in_channels=1, mlp_ratio=2),
    ViTSpec(2, 1, head_dim=8, img_size=32, num_classes=0, pool="norm_avg"),
    ViTSpec(1, 4, head_dim=16, img_size=28, patch_size=4, num_classes=3, class_token=True, pool="cls"),
    ViTSpec(2, 2, head_dim=8, img_size=32, num_classes=5, class_token=True, pool="avg_norm", mlp_ratio=3.5),
    ViTSpec(2, 2, head_dim=8, img_size=32, num_classes=5, class_token=True, pool="norm_avg"),
]

# the LeTs paper's descendants: parameters in M / GMACs at 224, 1000 classes
DES_NETS = {
    6: "15.0/3.1 18.5/3.8 22.0/4.6 25.6/5.3 29.1/6.1",
    8: "26.2/5.3 32.5/6.6 38.8/7.9 45.1/9.3 51.4/10.6",
    10: "40.6/8.2 50.5/10.2 60.3/12.2 70.2/14.3 80.0/16.3",
    12: "58.2/11.7 72.4/14.6 86.6/17.5 100.7/20.4 114.9/23.3",
}


@pytest.mark.parametrize("text", ["h6-l12", "H6-L12", "h6_l12", " h6l12 "])
def test_parse_reads_every_form(text):
    assert ViTSpec.parse(text) == ViTSpec(6, 12)
    assert str(ViTSpec.parse(text)) == "h6-l12"


def test_parse_takes_fields_specs_and_mappings():
    spec = ViTSpec.parse("h6-l12", img_size=32, patch_size=4)
    assert (spec.grid, spec.embed_dims) == ((8, 8), 384)
    assert ViTSpec.parse(spec) == spec
    assert ViTSpec.parse(spec, num_heads=3).embed_dims == 192
    assert ViTSpec.parse(spec.asdict()) == spec
    assert ViTSpec.parse({"num_heads": 3, "num_layers": 2}, num_layers=5) == ViTSpec(3, 5)


def test_replace_keeps_a_width_that_was_set_apart():
    assert ViTSpec(6, 2, embed_dims=100).replace(num_heads=4).embed_dims == 100
    assert ViTSpec(6, 2).replace(head_dim=32).embed_dims == 192


@pytest.mark.parametrize("text", ["", "deit-b", "h6", "6-12", "h6-l12-x", "l12-h6"])
def test_parse_refuses_other_text_and_shows_the_form(text):
    with pytest.raises(LearngeneError, match=r"expected heads and layers as in 'h\d+-l\d+'"):
        ViTSpec.parse(text)


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(num_heads=0), "num_heads=0 must be positive"),
        (dict(num_layers=-1), "num_layers=-1 must be positive"),
        (dict(num_classes=-1), "num_classes=-1"),
        (dict(img_size=0), r"img_size=\(0, 0\) is not divisible into patches of 16; the nearest size is \(16, 16\)"),
        (dict(pool="mean"), "pool 'mean' is unknown"),
        (dict(pool="cls"), "needs class_token=True"),
        (dict(num_head=3), "Did you mean 'num_heads'"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(LearngeneError, match=message):
        ViTSpec.parse("h6-l12", **fields)


@pytest.mark.parametrize("mapping", [{"num_heads": 3, "num_layers": 2, "num_head": 1}, {"num_heads": 3}])
def test_a_mapping_with_wrong_fields_is_bad_input(mapping):
    with pytest.raises(LearngeneError, match="num_head|num_layers"):
        ViTSpec.parse(mapping)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec}-{spec.pool}-{spec.class_token}")
def test_parameters_are_those_of_the_timm_model(spec):
    with torch.device("meta"):
        model = VisionTransformer(**model_kwargs(spec))
    assert spec.num_params == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec}-{spec.pool}-{spec.class_token}")
def test_parameters_are_those_of_the_mmpretrain_model(spec):
    pytest.importorskip("mmpretrain")
    from mmpretrain.registry import MODELS

    from mmlearngene.frameworks.mmpretrain import backbone_cfg, classifier_cfg

    model = MODELS.build(classifier_cfg(spec) if spec.num_classes else backbone_cfg(spec))
    assert spec.num_params == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec}-{spec.pool}-{spec.class_token}")
def test_flops_are_those_that_torch_counts(spec):
    with torch.device("meta"):
        assert spec.flops == 2 * spec.macs == counted(lambda: VisionTransformer(**model_kwargs(spec)), spec)


def counted(make, spec):
    """The FLOPs that torch counts of an image through a model."""
    fused = timm.layers.config._USE_FUSED_ATTN
    timm.layers.set_fused_attn(False)  # the counter sees plain matrix products on every device
    try:
        model = make().eval().requires_grad_(False)
    finally:
        timm.layers.config._USE_FUSED_ATTN = fused
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, spec.in_channels, *spec.img_size))
    return counter.get_total_flops()


@pytest.mark.parametrize("tokens", [0, 1])
def test_flops_of_pooling_by_attention_are_those_that_torch_counts(tokens):
    """A query, keys and values of all pooled tokens, their attention, and an MLP behind it."""
    fields = dict(head_dim=8, img_size=16, patch_size=4, num_classes=3, pool="map", class_token=bool(tokens))
    spec = ViTSpec(2, 2, **fields, pool_include_prefix=bool(tokens))
    assert spec.flops == counted(lambda: make_model(random_weights(spec), "timm"), spec)


def test_what_has_no_effect_is_no_feature():
    told = dict(no_embed_class=True)
    assert ViTSpec(2, 2, class_token=True, **told).features()["no_embed_class"]
    assert not ViTSpec(2, 2, **told).features()["no_embed_class"]  # no token that could be without
    rotating = ViTSpec(2, 2, class_token=True, pos_embed="none", rel_pos_bias=True, **told)
    assert not rotating.features()["no_embed_class"]  # and no position


def test_patch_embeddings_start_as_those_of_a_convolution():
    """Uniform up to 1 / sqrt of the inputs of an output: torch's, and timm's."""
    spec = ViTSpec(4, 1, patch_size=4, img_size=16)
    value = start_value(spec, "patch_embed.weight", spec.shapes()["patch_embed.weight"]).abs()
    assert 0.99 / 48**0.5 < value.max() <= 1 / 48**0.5 and value.mean() == pytest.approx(0.5 / 48**0.5, rel=0.05)
    assert start_value(spec, "pos_embed", (100, 100)).std() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("side, depths", [(64, (2, 1, 2)), (72, (1, 1, 1))])  # the second's grids are padded
def test_flops_of_a_swin_are_those_that_torch_counts(side, depths):
    heads = [1, 2, 4]
    spec = ViTSpec.parse("h1,2,4-l1,1,1", depths=depths, embed_dims=8, head_dim=8, img_size=side, window_size=4)
    make = partial(SwinTransformer, side, 4, embed_dim=8, depths=depths, num_heads=heads, window_size=4)
    assert spec.flops == counted(make, spec)


@pytest.mark.parametrize("heads", DES_NETS)
def test_the_papers_table_of_descendants(heads):
    for layers, printed in zip((8, 10, 12, 14, 16), DES_NETS[heads].split(), strict=True):
        spec = ViTSpec(heads, layers)
        assert f"{spec.num_params / 1e6:.1f}/{spec.macs / 1e9:.1f}" == printed


@given(layers=st.integers(1, 40), sources=st.integers(1, 40))
def test_spread_is_even_ordered_and_favours_the_earliest(layers, sources):
    assigned = spread(layers, sources)
    assert len(assigned) == layers
    assert assigned == sorted(assigned) and set(assigned) <= set(range(sources))
    if layers >= sources:
        counts = [assigned.count(source) for source in range(sources)]
        assert max(counts) - min(counts) <= 1 and counts == sorted(counts, reverse=True)
    else:
        assert len(set(assigned)) == layers and assigned[0] == 0
        if layers > 1:
            steps = [b - a for a, b in zip(assigned, assigned[1:], strict=False)]
            assert assigned[-1] == sources - 1 and max(steps) - min(steps) <= 1


def test_weights_share_the_tensors_of_layers_with_one_entry():
    spec = ViTSpec(1, 3, head_dim=4, img_size=16, num_classes=0)
    weights = ViTWeights(spec, {"fc1.bias": torch.arange(32.0).view(2, 16)}, (1, None, 1))
    first, empty, last = weights.layers()
    assert empty == {} and first["fc1.bias"] is not None
    assert first["fc1.bias"].data_ptr() == last["fc1.bias"].data_ptr()
    assert first["fc1.bias"].tolist() == list(range(16, 32))
    with pytest.raises(LearngeneError, match="2 entries for 3 layers"):
        ViTWeights(spec, {}, (0, 1))


@settings(max_examples=10, deadline=None)
@given(grid=st.integers(1, 5), patch=st.sampled_from([2, 4, 8]), class_token=st.booleans())
def test_resampling_is_timms(grid, patch, class_token):
    old = ViTSpec(1, 1, head_dim=4, img_size=12, patch_size=4, num_classes=0, class_token=class_token)
    new = old.replace(patch_size=patch, img_size=grid * patch)
    tensors = {name: torch.randn(old.shapes()[name]) for name in ("pos_embed", "patch_embed.weight")}
    found = ViTWeights(old, tensors).resample(new).tensors
    kernel, positions = tensors["patch_embed.weight"], tensors["pos_embed"][None]
    if patch != 4:
        kernel = timm.layers.resample_patch_embed(kernel, [patch, patch])
    if grid != 3:
        positions = timm.layers.resample_abs_pos_embed(positions, [grid, grid], [3, 3], int(class_token))
    assert torch.equal(found["patch_embed.weight"], kernel)
    assert torch.equal(found["pos_embed"], positions[0])


def test_attention_within_windows_costs_what_the_windows_see():
    swins = [ViTSpec.parse("h1,2-l2,3", embed_dims=32, img_size=64, window_size=side) for side in (4, 8)]
    tokens, channels = [16 * 16] * 2 + [8 * 8] * 3, [32] * 2 + [64] * 3
    more = sum(2 * count * width * (8**2 - 4**2) for count, width in zip(tokens, channels, strict=True))
    assert swins[1].macs - swins[0].macs == more


def test_more_patches_than_any_vit_has_are_refused():
    with pytest.raises(LearngeneError, match="has 4,194,304 patches of 16, more than 1,048,576"):
        ViTSpec(2, 2, img_size=32768)
    assert ViTSpec(2, 2, img_size=16384).num_tokens == 2**20
    assert ViTSpec(2, 2, img_size=32, class_token=True, reg_tokens=4).num_tokens == 4 + 5


@pytest.mark.parametrize(("heads", "hidden"), [(22, 15), (22, 49), (22, 6144)])
def test_a_hidden_width_comes_back_from_its_ratio(heads, hidden):
    spec = ViTSpec(heads, 1)
    assert spec.replace(mlp_ratio=hidden / spec.embed_dims).feedforward_channels == hidden


@pytest.mark.parametrize(
    "size, message",
    [
        (dict(img_size=225), r"not divisible into patches of 16; the nearest size is \(224, 224\), the .* this one 15"),
        (
            dict(img_size=288, patch_size=14),
            r"the nearest size is \(294, 294\), the nearest patch_size for this one 16",
        ),
    ],
)
def test_a_new_image_must_be_divisible_into_patches(size, message):
    with pytest.raises(LearngeneError, match=message):
        ViTSpec(2, 2).sized(**size)


def test_an_image_of_ones_own_may_leave_pixels_out():
    spec = ViTSpec(2, 2, patch_size=14, img_size=384)
    assert spec.leaves_pixels_out and spec.grid == (27, 27) and spec.num_positions == 27**2
    assert spec.sized(num_classes=5).img_size == (384, 384)
    assert spec.sized(img_size=378).grid == (27, 27)
    with pytest.raises(LearngeneError, match="not divisible"):
        ViTSpec([1, 2], 2, depths=[1, 1], embed_dims=32, window_size=2, patch_size=4, img_size=33, pos_embed="none")
