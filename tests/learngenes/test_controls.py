import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn, idctn
from timm.models.vision_transformer import VisionTransformer

from mmlearngene import LearngeneError, ViTSpec, ViTWeights, extract, initialize, load
from mmlearngene.frameworks.timm import VIT as TIMM
from mmlearngene.frameworks.timm import model_kwargs
from mmlearngene.learngenes.controls import Mimetic
from mmlearngene.vit.weights import spread

from ..support.parity import BLOCK_TENSORS, timm_logits

TINY = dict(head_dim=4, img_size=8, patch_size=4, num_classes=3)
KINDS = [dict(class_token=True, pool="cls"), dict(class_token=True, pool="avg_norm"), dict(pool="norm_avg")]
INHERITING = ["pre-fin", "first-k", "uniform-k", "weight-selection", "front"]
METHODS = [*INHERITING, "heuristic", "auto-learngene", "scratch", "mimetic"]


def make_ancestry(size="h3-l4", **fields) -> ViTWeights:
    """A ViT with distinct random numbers in every tensor."""
    spec = ViTSpec.parse(size, **{**TINY, **fields})
    torch.manual_seed(0)
    return ViTWeights(spec, {name: torch.randn(shape) for name, shape in spec.shapes().items()})


def make_model(spec: ViTSpec) -> VisionTransformer:
    torch.manual_seed(1)
    return VisionTransformer(**model_kwargs(spec))


def assert_is(weights: ViTWeights, expected: ViTWeights) -> None:
    assert weights.stem().keys() == expected.stem().keys()
    assert all(torch.equal(tensor, expected.tensors[name]) for name, tensor in weights.stem().items())
    for layer, other in zip(weights.layers(), expected.layers(), strict=True):
        assert layer.keys() == other.keys() == set(BLOCK_TENSORS)
        assert all(torch.equal(tensor, other[name]) for name, tensor in layer.items())


# ---------------------------------------------------------------- laws


@pytest.mark.parametrize("method", INHERITING)
@pytest.mark.parametrize("kind", KINDS)
def test_law_a_descendant_of_the_ancestrys_size_is_the_ancestry(method, kind):
    ancestry = make_ancestry(**kind)
    weights = extract(method, ancestry).expand("h3-l4")
    assert_is(weights, ancestry)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(timm_logits(weights, images), timm_logits(ancestry, images))


@pytest.mark.parametrize("method", ["heuristic", "auto-learngene"])
def test_law_all_layers_kept_is_the_ancestry(method):
    ancestry = make_ancestry()
    assert_is(extract(method, ancestry, layers=4).expand(), ancestry)


@settings(max_examples=30, deadline=None)
@given(depth=st.integers(1, 8), data=st.data(), kind=st.sampled_from(KINDS))
def test_law_layers_of_the_ancestry(depth, data, kind):
    ancestry = make_ancestry(f"h1-l{depth}", **kind)
    layers = data.draw(st.integers(1, depth))
    some = data.draw(st.integers(1, depth))
    even = [0] if layers == 1 else [round_half_up(i * (depth - 1) / (layers - 1)) for i in range(layers)]
    size = f"h1-l{layers}"
    expected = {
        "first-k": list(range(layers)),
        "uniform-k": even,
        "heuristic": [None] * (layers - some) + list(range(depth))[-min(some, layers) :],
        "auto-learngene": list(range(min(some, layers))) + [None] * (layers - some),
    }
    originals = ancestry.layers()
    for method, numbers in expected.items():
        options = {"layers": some} if method in ("heuristic", "auto-learngene") else {}
        weights = extract(method, ancestry, **options).expand(size)
        for layer, number in zip(weights.layers(), numbers, strict=True):
            if number is None:
                assert layer == {}
            else:
                assert all(torch.equal(tensor, originals[number][name]) for name, tensor in layer.items())
        assert all(torch.equal(tensor, ancestry.tensors[name]) for name, tensor in weights.stem().items())


def round_half_up(number: float) -> int:
    return int(number + 0.5)


def test_uniform_k_repeats_layers_of_a_shallower_ancestry():
    weights = extract("uniform-k", make_ancestry("h1-l2")).expand("h1-l5")
    assert weights.layer_map == (0, 0, 0, 1, 1)


def test_defaults_are_the_papers():
    ancestry = make_ancestry("h1-l12")
    originals = ancestry.layers()
    heuristic, auto = extract("heuristic", ancestry), extract("auto-learngene", ancestry)
    assert heuristic.expand("h1-l12").layer_map == (None,) * 9 + (0, 1, 2)
    assert auto.expand("h1-l12").layer_map == (*range(6), *(None,) * 6)
    assert torch.equal(heuristic.expand("h1-l12").layers()[-1]["fc1.weight"], originals[11]["fc1.weight"])
    assert heuristic.stored_params()["total"] == ancestry.spec.replace(num_layers=3).num_params


@pytest.mark.parametrize("heads", [[2] * 4, [1, 2, 3, 3]])
def test_pre_fin_of_fewer_heads_has_the_ancestrys_first_ones_and_its_width(heads):
    ancestry = make_ancestry()
    weights = extract("pre-fin", ancestry).expand(f"h{','.join(map(str, heads))}-l4")
    assert weights.spec.embed_dims == ancestry.spec.embed_dims
    for layer, old, count in zip(weights.layers(), ancestry.layers(), heads, strict=True):
        assert torch.equal(layer["qkv.weight"], old["qkv.weight"][:, :count])
        assert torch.equal(layer["qkv.bias"], old["qkv.bias"][:, :count])
        assert torch.equal(layer["proj.weight"], old["proj.weight"][:, :count])
        assert all(torch.equal(layer[name], old[name]) for name in layer if name.split(".")[0] not in ("qkv", "proj"))
    assert weights.spec.num_params == sum(
        t.numel() for part in (weights.stem(), *weights.layers()) for t in part.values()
    )


def test_half_of_the_heads_of_deit_s_are_18_million():
    spec = ViTSpec.parse("h6-l12", class_token=True, pool="cls", num_classes=0)
    assert 18.0e6 < spec.replace(num_heads=3, embed_dims=384).num_params < 18.2e6  # the paper's Pre-Fin: 18.0


# ---------------------------------------------------------------- weight selection


@settings(max_examples=30, deadline=None)
@given(
    small=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    more=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    kind=st.sampled_from(KINDS),
    choice=st.sampled_from(["first", "uniform"]),
)
def test_law_weight_selection_of_heads_is_the_direct_statement(small, more, kind, choice):
    heads, depth = small[0] + more[0], small[1] + more[1]
    ancestry = make_ancestry(f"h{heads}-l{depth}", **kind)
    weights = extract("weight-selection", ancestry).expand(f"h{small[0]}-l{small[1]}", depth=choice)

    def pick(count, among):  # the published code's rule
        if among % count == 0:
            return [i * among // count for i in range(count)]
        return torch.linspace(0, among - 1, count).round().long().tolist()

    width, head = pick(small[0] * 4, heads * 4), pick(small[0], heads)
    hidden = pick(small[0] * 16, heads * 16)
    numbers = list(range(small[1])) if choice == "first" else spread(small[1], depth)
    for number, layer in zip(numbers, weights.layers(), strict=True):
        old = ancestry.layers()[number]
        for part in range(3):
            for new, source in enumerate(head):
                assert torch.equal(layer["qkv.weight"][part, new], old["qkv.weight"][part, source][:, width])
                assert torch.equal(layer["qkv.bias"][part, new], old["qkv.bias"][part, source])
        assert torch.equal(layer["proj.weight"], old["proj.weight"][width][:, head])
        assert torch.equal(layer["fc1.weight"], old["fc1.weight"][hidden][:, width])
        assert torch.equal(layer["fc2.weight"], old["fc2.weight"][width][:, hidden])
        assert torch.equal(layer["fc1.bias"], old["fc1.bias"][hidden])
        for name in ("proj.bias", "fc2.bias", "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            assert torch.equal(layer[name], old[name][width])
    stem, old = weights.stem(), ancestry.tensors
    assert torch.equal(stem["patch_embed.weight"], old["patch_embed.weight"][width])
    for name in ("pos_embed", "head.weight", "norm.weight", "norm.bias", "patch_embed.bias", "cls_token"):
        assert name == "cls_token" and name not in old or torch.equal(stem[name], old[name][..., width])
    assert torch.equal(stem["head.bias"], old["head.bias"])
    make_model(weights.spec).load_state_dict(TIMM.state_dict(weights))


@pytest.mark.parametrize("size", ["h1-l2", "h2-l1", "h3-l2", "h4-l2"])
def test_law_weight_selection_of_rows_is_the_published_code(size):
    """Every axis of timm's tensors by itself: q, k and v are one axis, heads and their channels another one."""
    ancestry = make_ancestry("h5-l2", class_token=True)
    weights = extract("weight-selection", ancestry).expand(size, unit="row")

    def selected(tensor, shape):
        for axis, (among, count) in enumerate(zip(tensor.shape, shape, strict=True)):
            index = torch.linspace(0, among - 1, count).round().long()
            if among % count == 0:
                index = torch.arange(count) * (among // count)
            tensor = tensor.index_select(axis, index)
        return tensor

    found, source = TIMM.state_dict(weights), TIMM.state_dict(ancestry)
    assert any("qkv" in name for name in found)
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, selected(source[name], tensor.shape), rtol=0, atol=0)


# ---------------------------------------------------------------- FRONT


def front(stack, target):
    """The rule in so many words: layers in front, all axes transformed; the statistics are the layers' own."""
    flat = stack.reshape(len(stack), -1)
    mean, std = flat.mean(1), flat.std(1) + 1e-8
    shape = (-1, *[1] * (stack.ndim - 1))
    spectrum = dctn((stack - mean.reshape(shape)) / std.reshape(shape))
    kept = tuple(slice(min(old, new)) for old, new in zip(stack.shape, target, strict=True))
    padded = np.zeros(target)
    padded[kept] = spectrum[kept]
    rows = np.minimum(np.arange(target[0]), len(stack) - 1)
    return idctn(padded) * std[rows].reshape(shape) + mean[rows].reshape(shape)


@pytest.mark.parametrize("size", ["h2-l4", "h3-l2", "h1-l1", "h5-l7", "h2-l6"])
@pytest.mark.parametrize("heads", ["fused", "apart"])
def test_law_front_is_the_direct_statement(size, heads):
    ancestry = make_ancestry(class_token=True)
    weights = extract("front", ancestry).expand(size, heads=heads)
    spec, full = weights.spec, ancestry.spec

    def merged(name, shape):
        if heads == "apart":
            return shape
        return {
            "qkv.weight": (shape[0], -1, shape[-1]),
            "qkv.bias": (shape[0], -1),
            "proj.weight": (*shape[:2], -1),
            "patch_embed.weight": (shape[0] * 3, -1),
        }.get(name, shape)

    own, base = spec.shapes(), full.shapes()
    for name, tensor in weights.tensors.items():
        stack = ancestry.tensors[name].double().numpy().reshape(merged(name, base[name]))
        target = np.empty(own[name]).reshape(merged(name, own[name])).shape
        expected = front(stack, target) if name in BLOCK_TENSORS else front(stack[None], (1, *target))[0]
        np.testing.assert_allclose(tensor.detach().numpy(), expected.reshape(own[name]), atol=2e-5)


def test_front_of_a_constant_is_the_constant_and_ratio_keeps_amplitudes():
    ancestry = make_ancestry("h4-l4")
    wave = torch.cos(torch.pi * (torch.arange(16) + 0.5) / 16)
    for name, value in (("norm1.bias", torch.full((16,), 0.7)), ("norm2.bias", wave)):
        ancestry.tensors[name] = value.expand(4, 16).clone()
    gene = extract("front", ancestry)
    plain, kept = (gene.expand("h2-l4", ratio=ratio).layers()[2] for ratio in (False, True))
    torch.testing.assert_close(plain["norm1.bias"], torch.full((8,), 0.7))
    half = torch.cos(torch.pi * (torch.arange(8) + 0.5) / 8)
    torch.testing.assert_close(kept["norm2.bias"], half, atol=1e-5, rtol=0)
    torch.testing.assert_close(plain["norm2.bias"], 2 * half, atol=1e-5, rtol=0)


# ---------------------------------------------------------------- nothing inherited


def test_mimetic_products_are_what_the_paper_says():
    spec = ViTSpec.parse("h4-l2", head_dim=16, img_size=16, patch_size=4, num_classes=3)
    weights = Mimetic(aux=spec).expand()
    assert weights.tensors.keys() == {"qkv.weight", "proj.weight", "pos_embed"}
    eye = torch.eye(64)
    for layer in weights.layers():
        q, k, v = layer["qkv.weight"]
        out = (layer["proj.weight"].flatten(1) @ v.flatten(0, 1)).T  # x -> x out, all heads together
        noise = (out + 0.4 * eye) / 0.4
        assert abs(noise.mean()) < 0.02 and abs(noise.std() * 64**0.5 - 1) < 0.1
        for head in range(4):
            product = q[head].T @ k[head]
            # of full rank it would have trace 0.7 * 64; the 16 largest singular values keep a part of that
            assert torch.linalg.matrix_rank(product) == 16
            assert product.diagonal().mean() > 0.1
            off = product - product.diagonal().diag()
            assert abs(off.mean()) < 0.02
        assert not torch.allclose(q[0], q[1])


def test_mimetic_full_rank_head_is_the_exact_product():
    spec = ViTSpec.parse("h1-l1", head_dim=32, img_size=16, patch_size=4, num_classes=3)
    q, k, _ = Mimetic(aux=spec).expand().tensors["qkv.weight"][0]
    noise = (q[0].T @ k[0] - 0.7 * torch.eye(32)) / 0.7
    assert abs(noise.mean()) < 0.03 and abs(noise.std() * 32**0.5 - 1) < 0.1


def test_mimetic_is_seeded_and_positions_are_sines():
    ancestry = make_ancestry(class_token=True)
    one, same, other = (extract("mimetic", ancestry, seed=seed).expand() for seed in (1, 1, 2))
    assert torch.equal(torch.stack(one.tensors["qkv.weight"]), torch.stack(same.tensors["qkv.weight"]))
    assert not torch.equal(torch.stack(one.tensors["qkv.weight"]), torch.stack(other.tensors["qkv.weight"]))
    positions = one.tensors["pos_embed"]
    assert not positions[0].any()
    assert positions.shape == (5, 12) and positions.abs().max() <= 1
    assert len(positions.unique(dim=0)) == 5


@pytest.mark.parametrize("method", ["scratch", "mimetic"])
def test_nothing_of_the_ancestry_is_kept(method):
    learngene = extract(method, make_ancestry())
    assert learngene.stored_params()["total"] == 0
    other = make_ancestry()
    other.tensors = {name: tensor + 1 for name, tensor in other.tensors.items()}
    mine, its = learngene.expand("h5-l7"), extract(method, other).expand("h5-l7")
    assert mine.tensors.keys() == its.tensors.keys()
    for layer, same in zip(mine.layers(), its.layers(), strict=True):
        assert all(torch.equal(tensor, same[name]) for name, tensor in layer.items())


# ---------------------------------------------------------------- initialize, files, errors


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_control_saves_loads_and_initializes(method, kind, tmp_path):
    ancestry = make_ancestry(**kind)
    learngene = extract(method, ancestry)
    back = load(learngene.save(tmp_path / "gene.safetensors"))
    assert (back.method, back.aux_spec, back.config) == (method, ancestry.spec, learngene.config)

    model = make_model(ancestry.spec)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    report = initialize(model, tmp_path / "gene.safetensors")
    expected = TIMM.state_dict(learngene.expand())
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, expected.get(name, before[name]))
    statuses = {name: status for name, status, _ in report.tensors}
    assert all((status == "inherited") == (name in expected) for name, status in statuses.items())
    assert (report.share == 1) == (method in (*INHERITING, "auto-learngene"))  # the ancestry has less than 6 layers


@pytest.mark.parametrize(
    ("method", "options", "random"),
    [
        ("scratch", {}, {0, 1, 2, 3}),
        ("heuristic", {"layers": 1}, {0, 1, 2}),
        ("auto-learngene", {"layers": 3}, {3}),
    ],
)
def test_report_names_random_layers(method, options, random):
    learngene = extract(method, make_ancestry(), **options)
    report = initialize(make_model(learngene.aux_spec), learngene)
    found = {name.split(".")[1] for name, status, _ in report.tensors if status == "random" and "blocks" in name}
    assert found == {str(layer) for layer in random}
    assert (report.share == 0) == (method == "scratch")


def test_a_minimum_share_given_by_the_caller_counts():
    learngene = extract("heuristic", make_ancestry(), layers=1)
    model = make_model(learngene.aux_spec)
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(LearngeneError, match="less than min_inherited=50.0%"):
        initialize(model, learngene, min_inherited=0.5)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("method", "size", "message"),
    [
        ("pre-fin", "h3-l3", "1 to 3 heads and 4 layers, not to h3-l3; the nearest size is h3-l4"),
        ("pre-fin", "h4-l4", "the nearest size is h3-l4"),
        ("first-k", "h3-l5", "3 heads and 1 to 4 layers, not to h3-l5; the nearest size is h3-l4"),
        ("uniform-k", "h4-l4", "3 heads and any number of layers"),
        ("first-k", ViTSpec((3, 2), 2, embed_dims=12, **TINY), "not to h3,2-l2; the nearest size is h3-l2"),
        ("weight-selection", "h4-l6", "1 to 3 heads and 1 to 4 layers, not to h4-l6; the nearest size is h3-l4"),
        *(
            (
                method,
                ViTSpec((2, 3), 2, embed_dims=12, **TINY),
                "all layers alike, not to h2,3-l2; the nearest size is h3-l2",
            )
            for method in ("weight-selection", "front", "mimetic")
        ),
    ],
)
def test_sizes_out_of_range(method, size, message):
    with pytest.raises(LearngeneError, match=message):
        extract(method, make_ancestry()).expand(size)


def test_bad_options():
    ancestry = make_ancestry()
    with pytest.raises(LearngeneError, match="layers=5: the ancestry h3-l4 has 4; the nearest is 4"):
        extract("heuristic", ancestry, layers=5)
    with pytest.raises(LearngeneError, match="no extraction option 'layers'"):
        extract("first-k", ancestry, layers=2)
    with pytest.raises(LearngeneError, match="Did you mean 'uniform'"):
        extract("weight-selection", ancestry).expand("h2-l2", depth="uniforn")
    with pytest.raises(LearngeneError, match="Did you mean 'uniform'"):  # known of a file's facts alone
        extract("weight-selection", ancestry).check_expansion(ancestry.spec, depth="uniforn")
    with pytest.raises(LearngeneError, match="embed_dims=16 is more than the ancestry's 12"):
        extract("weight-selection", ancestry).expand(ancestry.spec.replace(num_heads=2, embed_dims=16))
    with pytest.raises(LearngeneError, match="divisible by 4"):
        Mimetic(aux=ViTSpec.parse("h1-l1", **{**TINY, "head_dim": 6})).expand()
    uneven = ViTWeights(ViTSpec((3, 2, 3, 3), 4, embed_dims=12, **TINY), ancestry.tensors)
    with pytest.raises(LearngeneError, match="different numbers of heads in its layers .h3,2,3,3-l4"):
        extract("first-k", uneven)
    with pytest.raises(LearngeneError, match="extraction method 'first' is unknown"):
        extract("first", ancestry)
