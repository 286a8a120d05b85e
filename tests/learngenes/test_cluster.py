"""Cluster-Learngene: clusters, priority sharing, identity, gradients, accounting, and a trained ancestry."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import DefaultScope
from PIL import Image

import mmlearngene.engine  # noqa: F401  (registers the initializer)
from mmlearngene import LearngeneError, ViTSpec, ViTWeights, extract, initialize, load
from mmlearngene.frameworks.mmpretrain import VIT as MMPRETRAIN
from mmlearngene.frameworks.mmpretrain import backbone_cfg, classifier_cfg
from mmlearngene.frameworks.timm import VIT as TIMM
from mmlearngene.io.preprocessing import preprocessing_of
from mmlearngene.learngenes.attention import Images, attention_maps, mean_attention_distance, read_images
from mmlearngene.learngenes.cluster import (
    Cluster,
    centroid_head,
    cluster_heads,
    merge_ffns,
    share_heads,
)
from mmlearngene.models import AuxNet
from mmlearngene.registry import MODELS
from mmlearngene.testing import random_weights
from mmlearngene.use.figures import plot_attention, plot_clusters

from ..support import digits
from ..support.ancestries import TINY, ancestry, logits

# DeiT-B, layer 3: the distances that the paper's authors print
DEIT_B_LAYER_3 = [24.26, 102.59, 54.87, 15.98, 70.22, 90.46, 64.99, 69.14, 15.33, 43.79, 41.39, 90.17]
# DeiT-S: the centroid heads that the paper's authors use, and its one run of FFNs
DEIT_S_HEADS = [
    [1, 2, 3], [0, 1, 3], [4, 2, 3], [1, 3], [4, 1, 3, 5], [4, 0, 1], [2, 0, 1, 3, 5], [4], [5, 1, 2], [5], [2], [3]
]  # fmt: skip
DEIT_S_FFNS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9]


# ---------------------------------------------------------------------- clusters


def test_clusters_and_priority_of_the_papers_vector():
    clusters = cluster_heads(DEIT_B_LAYER_3, eps=10)
    assert clusters == [[0, 3, 8], [4, 6, 7], [5, 11], [9, 10], [1], [2]]
    assert [centroid_head(c, DEIT_B_LAYER_3) for c in clusters] == [3, 7, 5, 9, 1, 2]
    assert centroid_head([0, 1], [0.1, 0.3]) == 0  # as near as the other, but for rounding


@given(st.lists(st.floats(0, 200), min_size=1, max_size=16), st.floats(0.1, 50))
def test_clusters_are_the_connected_components_of_the_eps_graph(distances, eps):
    clusters = cluster_heads(distances, eps)
    assert sorted(h for c in clusters for h in c) == list(range(len(distances)))
    order = sorted(range(len(distances)), key=distances.__getitem__)
    components = [[order[0]]]
    for left, right in zip(order, order[1:], strict=False):
        if distances[right] - distances[left] > eps:
            components.append([])
        components[-1].append(right)
    assert {frozenset(c) for c in clusters} == {frozenset(c) for c in components}
    assert [len(c) for c in clusters] == sorted(map(len, components), reverse=True)


@settings(deadline=None)
@given(st.integers(1, 16), st.integers(1, 32))
def test_priority_sharing_is_the_rule_of_the_paper(centroids, heads):
    used = np.bincount(share_heads(centroids, heads), minlength=centroids).tolist()
    if heads < centroids:
        assert used == [1] * heads + [0] * (centroids - heads)
    elif heads % centroids == 0:
        assert used == [heads // centroids] * centroids
    else:
        floor, extra = divmod(heads, centroids)
        assert used == [floor + 1] * extra + [floor] * (centroids - extra)


def test_priority_sharing_everywhere():
    for centroids in range(1, 17):
        for heads in range(1, 33):
            test_priority_sharing_is_the_rule_of_the_paper.hypothesis.inner_test(centroids, heads)
    assert share_heads(3, 7) == [0, 1, 2, 0, 1, 2, 0]  # rounds in order


def test_ffns_of_like_adjacent_layers_merge():
    distances = [[10, 50], [60, 15], [100, 20], [22], [25], [40]]  # pairs differ by 7.5, 22.5, -, 3, 15 on average
    assert merge_ffns(distances, eps=10) == [0, 0, 2, 3, 3, 5]
    assert merge_ffns([[0.0], [10.0], [19.5]], eps=10) == [0, 1, 1]  # a distance of eps is too far
    # unequal counts, in order of priority: 100 against 22 differs by 78
    assert merge_ffns(distances, eps=77, equal_counts=False) == [0, 0, 0, 3, 3, 3]
    assert merge_ffns(distances, eps=79, equal_counts=False) == [0, 0, 0, 0, 0, 0]
    assert merge_ffns(distances, eps=79) == [0, 0, 0, 3, 3, 3]


def test_ffn_runs_of_deit_b_are_those_that_the_paper_reports():
    authors = json.loads((Path(__file__).parents[1] / "data" / "cluster_deit_b_distances.json").read_text())
    spec = ViTSpec(12, 12, 4, patch_size=112, class_token=True, pool="cls")
    weights = ViTWeights(spec, {name: torch.randn(shape) for name, shape in spec.shapes().items()})
    reconstructed, written = (
        Cluster.extract(weights, distances=authors["distances"], equal_counts=equal).config for equal in (False, True)
    )
    assert reconstructed["heads"] == written["heads"] == authors["centroids_in_priority_order"]
    assert reconstructed["ffns"] == authors["ffns_reported"] == [0, 1, 2, 3, 4, 5, 6, 6, 8, 9, 9, 9]
    assert written["ffns"] == [0, 1, 2, 3, 4, 5, 6, 6, 8, 9, 10, 11]  # the rule as written joins two layers alone


# ---------------------------------------------------------------------- the descendant


@pytest.mark.parametrize("class_token", [False, True])
def test_every_head_kept_gives_the_ancestry(class_token):
    weights, x = ancestry(class_token), torch.randn(3, 3, 16, 16)
    learngene = Cluster.extract(weights, eps=0)
    torch.testing.assert_close(logits(learngene.expand(), x), logits(weights, x), rtol=0, atol=1e-6)
    assert learngene.expand().tensors.keys() == weights.tensors.keys()


def test_every_head_in_any_priority_gives_the_ancestry():
    weights, x = ancestry(), torch.randn(3, 3, 16, 16)
    learngene = Cluster.extract(weights, heads=[[2, 0, 3, 1], [3, 2, 1, 0], [0, 1, 2, 3], [1, 0, 3, 2]])
    torch.testing.assert_close(logits(learngene.expand(), x), logits(weights, x), rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(4, 16), min_size=4, max_size=4))
def test_repeated_heads_leave_the_function_of_a_layer_alone(heads):
    weights, x = ancestry(), torch.randn(3, 3, 16, 16)
    size = f"h{','.join(map(str, heads))}-l4"
    learngene = Cluster.extract(weights, eps=0)
    torch.testing.assert_close(logits(learngene.expand(size), x), logits(weights, x), rtol=0, atol=1e-5)
    uncorrected = logits(learngene.expand(size, repeat_correction=False), x)
    assert ((uncorrected - logits(weights, x)).abs().max() > 1e-3) == (max(heads) > 4)


def test_heads_follow_priority_with_their_biases_and_projection_columns():
    weights = ancestry()
    learngene = Cluster.extract(weights, heads=[[2], [3, 1], [0, 2, 1], [1, 0, 3, 2]])
    layers = learngene.expand("h3-l4", repeat_correction=False).layers()
    for layer, order in enumerate([[2, 2, 2], [3, 1, 3], [0, 2, 1], [1, 0, 3]]):
        for name in ("qkv.weight", "qkv.bias", "proj.weight"):
            assert torch.equal(layers[layer][name], weights.tensors[name][layer][:, order])
    corrected = learngene.expand("h3-l4").layers()[1]["proj.weight"]
    assert torch.equal(corrected, layers[1]["proj.weight"] / torch.tensor([2, 1, 2])[:, None])


@pytest.mark.parametrize(
    "order, ranks",
    [("priority", [0, 1, 2]), ("origin", [1, 0, 2]), ("increasing", [2, 0, 1]), ("decreasing", [1, 0, 2])],
)
def test_centroids_are_handed_out_in_other_orders(order, ranks):
    weights = ancestry()
    learngene = Cluster.extract(weights, distances=[[90.0, 40.0, 41.0, 5.0]] * 4)
    assert learngene.config["heads"][0] == [1, 0, 3]  # 1 and 2 are one cluster, of which the first is nearest the mean
    centroids = [[1, 0, 3][rank] for rank in ranks]
    layer = learngene.expand("h5-l4", order=order, repeat_correction=False).layers()[0]
    heads = [*centroids, *centroids[:2]]
    assert torch.equal(layer["qkv.bias"], weights.tensors["qkv.bias"][0][:, heads])
    assert torch.equal(layer["proj.weight"], weights.tensors["proj.weight"][0][:, heads])


def test_an_order_by_distance_needs_distances():
    with pytest.raises(LearngeneError, match="order='increasing' needs distances"):
        merged().expand("h3-l4", order="increasing")
    with pytest.raises(LearngeneError, match="Did you mean 'decreasing'"):
        merged().expand("h3-l4", order="decreasin")


def test_ffns_of_a_run_may_be_averaged():
    weights = ancestry()
    learngene = Cluster.extract(weights, heads=[[0]] * 4, ffns=[0, 0, 0, 3], ffn_centroid="average")
    for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"):
        layers = [layer[name] for layer in learngene.expand("h1-l4").layers()]
        for layer in layers[:3]:
            torch.testing.assert_close(layer, weights.tensors[name][:3].mean(0))
        assert torch.equal(layers[3], weights.tensors[name][3])


def test_depth_is_of_the_first_or_of_uniform_layers():
    weights = ancestry()
    learngene = Cluster.extract(weights, eps=0)
    norms = weights.tensors["norm1.bias"]
    for size, depth, sources in [
        ("h4-l2", "first", [0, 1]),
        ("h4-l2", "uniform", [0, 3]),
        ("h4-l6", "uniform", [0, 0, 1, 1, 2, 3]),
    ]:
        found = [layer["norm1.bias"] for layer in learngene.expand(size, depth=depth).layers()]
        assert torch.equal(torch.stack(found), norms[sources])
    with pytest.raises(LearngeneError, match="uniform"):
        learngene.expand("h4-l6")


def test_sizes_that_are_shown_have_no_more_heads_than_the_ancestry():
    learngene = extract("cluster", ancestry(), heads=[[0, 1]] * 4)
    assert max(learngene.head_choices) > 4
    assert {spec.heads[0] for spec in learngene.some_sizes()} <= {1, 2, 3, 4}


def test_average_centroids():
    weights = ancestry()
    rows = [[0.0, 1.0, 50.0, 100.0]] * 4
    learngene = Cluster.extract(weights, distances=rows, centroid="average")
    assert learngene.config["clusters"] == [[[0, 1], [2], [3]]] * 4
    expected = weights.tensors["qkv.weight"][:, :, [0, 1]].mean(2)
    found = torch.stack([layer["qkv.weight"] for layer in learngene.expand("h1-l4").layers()])
    torch.testing.assert_close(found[:, :, 0], expected)


# ---------------------------------------------------------------------- training and files


def merged() -> Cluster:
    return Cluster.extract(ancestry(), heads=[[0, 1]] * 4, ffns=[0, 0, 0, 3])


def test_ffn_maps_start_at_the_identity():
    learngene, own = merged(), ancestry().tensors
    layers = learngene.expand("h3-l4").layers()
    for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"):
        for layer, source in enumerate([0, 0, 0, 3]):
            assert torch.equal(layers[layer][name], own[name][source])
    assert [name for name, _ in learngene.maps.named_parameters() if "0.weight" in name] == ["ffn0.0.weight"]


def test_a_step_of_training_changes_every_map_and_tells_the_ffns_apart():
    learngene = merged()
    net = AuxNet(learngene, size="h3-l4", head=dict(loss=dict(type="CrossEntropyLoss")))
    before = {name: tensor.detach().clone() for name, tensor in learngene.named_parameters()}
    optimizer = torch.optim.SGD(learngene.parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(net(torch.randn(4, 3, 16, 16)), torch.tensor([0, 1, 2, 3])).backward()
    optimizer.step()
    for name, tensor in learngene.named_parameters():
        assert not torch.equal(tensor, before[name]), name
    first, second = (learngene.expand("h3-l4").layers()[layer]["fc1.weight"] for layer in (0, 1))
    assert (first - second).abs().max() > 1e-6


def test_saved_and_loaded_it_expands_to_the_same(tmp_path):
    learngene = Cluster.extract(ancestry(class_token=True), distances=torch.rand(4, 4) * 40, eps=10)
    loaded = load(learngene.save(tmp_path / "gene.safetensors"))
    assert loaded.config == learngene.config and loaded.learngene_spec == learngene.learngene_spec
    for name, tensor in TIMM.state_dict(loaded.expand("h3,4,5,6-l4")).items():
        assert torch.equal(tensor, TIMM.state_dict(learngene.expand("h3,4,5,6-l4"))[name])
    built = MODELS.build(dict(type="LoadLearngene", path=str(tmp_path / "gene.safetensors")))
    assert built.stored_params() == learngene.stored_params()


@pytest.mark.parametrize("size", ["h4-l4", "h3-l3", "h2,4,6-l3"])
def test_initializes_plain_and_elastic_vits(size):
    learngene = Cluster.extract(ancestry(), distances=torch.rand(4, 4) * 40, eps=10)
    spec = learngene.target(size)
    x = torch.randn(2, 3, 16, 16)
    for model in (TIMM.make(spec), MODELS.build(classifier_cfg(spec))):
        report = initialize(model, learngene)
        assert report.share == 1 and report.size == size
        torch.testing.assert_close(model.eval()(x), logits(learngene.expand(size), x), rtol=0, atol=1e-5)


def test_initializes_an_elastic_backbone_of_a_segmentor(tmp_path):
    from mmseg.registry import MODELS as SEG_MODELS
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    learngene = Cluster.extract(ancestry(), distances=torch.rand(4, 4) * 40, eps=10)
    file = learngene.save(tmp_path / "gene.safetensors")
    spec = learngene.target("h2,3,6-l3").replace(img_size=32)
    backbone = backbone_cfg(spec, out_type="featmap", out_indices=[1, 2])
    backbone["init_cfg"] = dict(type="Learngene", checkpoint=str(file))
    head = dict(type="FCNHead", in_channels=32, channels=8, in_index=1, num_convs=1, num_classes=4)
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = SEG_MODELS.build(dict(type="EncoderDecoder", backbone=backbone, decode_head=head, test_cfg={}))
        model.init_weights()
    expected = MMPRETRAIN.state_dict(learngene.expand(spec))
    for name, tensor in model.backbone.state_dict().items():
        if not name.startswith("ln1"):  # the final norm of feature maps, which the learngene's pooling has not
            assert torch.equal(tensor, expected[f"backbone.{name}"]), name


def test_deit_s_inherits_15_09_million():
    spec = ViTSpec.parse("h6-l12", class_token=True, pool="cls", num_classes=0)
    with torch.device("meta"):
        learngene = Cluster(spec, DEIT_S_HEADS, DEIT_S_FFNS)
    counts = learngene.stored_params()
    # heads, projection biases, FFNs, LayerNorms, patch embedding, class token
    parts = 30 * (4 * 64 * 384 + 192) + 12 * 384 + 10 * 1_181_568 + 25 * 768 + 295_296 + 384
    assert counts["learngene"] == parts == 15_090_048
    assert counts["positions"] == 197 * 384
    assert counts["maps"] == 13  # one number -> two hidden units -> three layers


# ---------------------------------------------------------------------- attention distances


@pytest.mark.parametrize("class_token", [False, True])
def test_attention_distance_of_uniform_attention_is_the_mean_distance(class_token):
    weights = ancestry(class_token)
    weights.tensors["qkv.weight"] = torch.zeros(4, 3, 4, 8, 32)
    weights.tensors["qkv.bias"] = torch.zeros(4, 3, 4, 8)
    centres = [(4.0 * r, 4.0 * c) for r in range(4) for c in range(4)]  # patches of 4 pixels on a 4 x 4 grid
    total = sum(np.hypot(a - c, b - d) for a, b in centres for c, d in centres)
    expected = total / 16 / (17 if class_token else 16)  # the class token keeps its share of the attention
    found = mean_attention_distance(weights, [torch.randn(2, 3, 16, 16), torch.randn(3, 3, 16, 16)])
    torch.testing.assert_close(found, torch.full((4, 4), expected, dtype=torch.float64))


@pytest.mark.parametrize("class_token", [False, True])
def test_attention_distance_of_a_head_that_looks_at_one_patch(class_token):
    weights = ancestry(class_token)
    qkv, bias, pos = (weights.tensors[name] for name in ("qkv.weight", "qkv.bias", "pos_embed"))
    # head 2 of layer 0: every query asks for channel 0, which the first patch alone has
    qkv[0, :2, 2], bias[0, :2, 2] = 0, 0
    bias[0, 0, 2, 0], qkv[0, 1, 2, 0, 0] = 100, 1
    pos[:, 0] = -10
    pos[int(class_token), 0] = 10
    weights.tensors["norm1.weight"][0] = 1
    found = mean_attention_distance(weights, [torch.zeros(1, 3, 16, 16)])
    expected = np.mean([np.hypot(4.0 * row, 4.0 * column) for row in range(4) for column in range(4)])
    assert float(found[0, 2]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("class_token", [False, True])
def test_attention_maps_are_means_over_heads_and_images(class_token):
    weights = ancestry(class_token)
    images = [torch.randn(2, 3, 16, 16), torch.randn(3, 3, 16, 16)]
    maps = attention_maps(weights, images)
    tokens = 17 if class_token else 16
    assert [tuple(found.shape) for found in maps] == [(tokens, tokens)] * 4
    for found in maps:
        torch.testing.assert_close(found.sum(-1), torch.ones(tokens, dtype=torch.float64))
    model = TIMM.make(weights.spec).eval()
    model.load_state_dict(TIMM.state_dict(weights))
    seen = []
    block = model.blocks[0]
    block.attn.fused_attn = False
    block.attn.attn_drop.register_forward_hook(lambda _, inputs, output: seen.append(output))
    for batch in images:
        model(batch)
    torch.testing.assert_close(maps[0].float(), torch.cat(seen).mean((0, 1)))
    with pytest.raises(LearngeneError, match="at least one image"):
        attention_maps(weights, [])


@pytest.fixture
def folder(tmp_path):
    numbers = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(4):
            pixels = numbers.integers(0, 255, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    return tmp_path / "images"


def test_images_are_drawn_by_the_seed_and_normalised(folder, tmp_path):
    spec = ancestry().spec
    drawn = [torch.cat(list(read_images(folder, spec, 5, seed))) for seed in (0, 0, 1)]
    assert drawn[0].shape == (5, 3, 16, 16)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    plain = torch.cat(list(read_images(folder, spec, 5, 0, mean=(0, 0, 0), std=(1, 1, 1))))
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(drawn[0], (plain - mean) / std)
    assert plain.min() >= 0 and plain.max() <= 1
    assert preprocessing_of("vit_base_patch16_224.augreg_in21k")["mean"] == (0.5, 0.5, 0.5)
    assert preprocessing_of("checkpoint.pth") == {}
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(LearngeneError, match="preprocessor_config.json is damaged"):
        preprocessing_of(str(tmp_path))


def test_extraction_from_a_folder_is_deterministic(folder):
    first, second = (extract("cluster", ancestry(), data=str(folder), num_images=6, seed=3, eps=0.2) for _ in range(2))
    assert first.config == second.config
    assert first.provenance["data"] == "images" and first.provenance["num_images"] == 6


def test_attention_of_a_large_vit_is_looked_at_on_smaller_images(folder, tmp_path, caplog):
    """No larger than 224 unless asked for, told in pixels of its own size, about as far as on large ones."""
    torch.manual_seed(0)
    spec = ViTSpec.parse("h2-l2", head_dim=8, img_size=448, patch_size=56, num_classes=3)
    weights = random_weights(spec)
    small = mean_attention_distance(weights, read_images(folder, spec, 2))
    assert "on images of 224 x 224 (data_size, --img-size)" in caplog.text
    caplog.clear()
    images = Images(str(folder), spec, num_images=2)
    assert [len(batch) for _ in range(3) for batch in images] == [2, 2, 2]
    assert caplog.text.count("on images of 224 x 224") == 1  # however often they are gone through
    large = mean_attention_distance(weights, read_images(folder, spec, 2, img_size=448))
    assert small.shape == large.shape == (2, 2)
    assert torch.allclose(small, large, rtol=0.3)  # in pixels of 448 x 448, both
    assert extract("cluster", weights, data=str(folder), num_images=2, eps=1.0).aux_spec == spec
    with pytest.raises(LearngeneError, match="a Swin has images of its own size|a config has"):
        extract("cluster", weights, data=str(tmp_path / "config.py"), data_size=112)


def test_images_of_a_config_come_through_its_pipeline_and_preprocessor(folder, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(
        f"""
default_scope = "mmpretrain"
data_preprocessor = dict(mean=[0, 0, 0], std=[255, 255, 255], to_rgb=True)
val_dataloader = dict(dataset=dict(
    type="CustomDataset", data_root={str(folder)!r},
    pipeline=[dict(type="LoadImageFromFile"), dict(type="Resize", scale=16), dict(type="PackInputs")]))
"""
    )
    images = torch.cat(list(read_images(config, ancestry().spec, 8)))
    assert images.shape == (8, 3, 16, 16) and 0 <= images.min() and images.max() <= 1
    with pytest.raises(LearngeneError, match="ancestry takes"):
        list(read_images(config, ancestry().spec.replace(img_size=32), 8))


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize("wrong", [[1.5], "x", 3])
def test_preprocessing_is_looked_at_where_no_image_is(wrong):
    ancestry = random_weights(ViTSpec(2, 4, head_dim=4, img_size=8, patch_size=4))
    with pytest.raises(LearngeneError, match="preprocessing=.* must be a mapping, as in"):
        extract("cluster", ancestry, eps=0, preprocessing=wrong)


def test_bad_input_is_told_before_any_work(tmp_path):
    weights = ancestry()
    for options, message in [
        (dict(), "needs images"),
        (dict(data=tmp_path / "nowhere"), "expected a folder"),
        (dict(data=tmp_path), "holds no images"),
        (dict(eps=-1), "eps=-1"),
        (dict(distances=torch.zeros(3, 4)), "do not fit"),
        (dict(heads=[[0]] * 3), "has 3 layers"),
        (dict(heads=[[0], [4], [0], [0]]), "of layer 1"),
        (dict(heads=[[0]] * 4, ffns=[0, 0, 1, 3]), "ffns="),
        (dict(heads=[[0]] * 4, centroid="average"), "needs clusters"),
        (dict(eps=0, centroid="nearset"), "Did you mean 'nearest'"),
    ]:
        with pytest.raises(LearngeneError, match=message):
            extract("cluster", weights, **options)
    learngene = Cluster.extract(weights, eps=0)
    with pytest.raises(LearngeneError, match="h64-l4"):
        learngene.expand("h65-l4")
    with pytest.raises(LearngeneError, match="embed_dims=40"):
        learngene.expand(weights.spec.replace(num_heads=5))
    with pytest.raises(LearngeneError, match="2 entries for 4 layers"):
        learngene.expand("h2,3-l4")
    with pytest.raises(LearngeneError, match="not 24 wide"):
        Cluster.extract(random_weights(ViTSpec.parse("h5-l2", **TINY, embed_dims=24)), eps=0)


# ---------------------------------------------------------------------- a trained ancestry


@pytest.fixture(scope="module")
def digits_learngene() -> Cluster:
    (x, _), _ = digits.digits()
    return extract("cluster", digits.ancestry(), data=[x[:500]], eps=0.1)  # pixels of images of 8 x 8


def test_a_trained_ancestry_has_real_clusters(digits_learngene, tmp_path):
    sizes = [len(cluster) for layer in digits_learngene.config["clusters"] for cluster in layer]
    assert max(sizes) > 1 and len(sizes) > 4
    assert plot_clusters(digits_learngene, tmp_path / "clusters.png").stat().st_size > 1000
    (x, _), _ = digits.digits()
    networks = {"ancestry": digits.ancestry(), "h6-l4": digits_learngene.expand("h6-l4")}
    assert plot_attention(networks, [x[:8]], tmp_path / "attention.png").stat().st_size > 1000


@pytest.mark.parametrize("size", ["h6-l4", "h3-l4", "h4-l3", "h2,3,4,5-l4"])
def test_descendants_of_a_trained_ancestry_beat_scratch_at_equal_budget(digits_learngene, size):
    spec = digits_learngene.target(size)
    inherited = digits.vit(spec, digits_learngene.expand(size))
    assert digits.accuracy(inherited) > 0.25  # before any tuning
    assert digits.train(inherited, epochs=1) > digits.train(digits.vit(spec), epochs=1) + 0.15
