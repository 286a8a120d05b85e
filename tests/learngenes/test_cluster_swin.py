"""Cluster-Learngene of Swins: identity, repeated heads, tables that follow their heads, distances in windows."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.models import SwinTransformer
from mmpretrain.structures import DataSample
from PIL import Image

import mmlearngene.engine  # noqa: F401  (registers the initializer)
from mmlearngene import LEARNGENES, LearngeneError, ViTSpec, ViTWeights, build, extract, initialize, load, load_ancestry
from mmlearngene.cli import main
from mmlearngene.frameworks.mmpretrain import SWIN, backbone_cfg
from mmlearngene.learngenes.attention import mean_attention_distance
from mmlearngene.learngenes.cluster import Cluster
from mmlearngene.models import AuxNet, ElasticSwin
from mmlearngene.registry import MODELS
from mmlearngene.use.figures import plot_clusters

from ..support.ancestries import ancestry as vit_ancestry
from ..support.configs import CONFIGS, images, shrink, teacher  # noqa: F401  (fixtures)

SPEC = ViTSpec.parse(
    "h2,4,8,16-l2,2,3,1", embed_dims=8, head_dim=4, window_size=2, patch_size=2, img_size=32, num_classes=5
)
LIKE = "swin_tiny_patch4_window7_224"
BLOCKS = 8


def ancestry(spec: ViTSpec = SPEC) -> ViTWeights:
    generator = torch.Generator().manual_seed(0)

    def tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        values = torch.randn(shape, generator=generator)
        return 1 + 0.1 * values if "norm" in name and name.endswith("weight") else 0.3 * values

    tensors = {name: tensor(name, shape) for name, shape in spec.stem_shapes().items()}
    for layer in range(spec.num_layers):
        for name, shape in spec.layer_shapes(layer).items():
            tensors.setdefault(name, []).append(tensor(name, shape))
    return ViTWeights(spec, tensors)


def classifier(spec: ViTSpec = SPEC, init_cfg: dict | None = None, **backbone) -> torch.nn.Module:
    model = MODELS.build(
        dict(
            type="mmpretrain.ImageClassifier",
            backbone=backbone_cfg(spec, **backbone),
            neck=dict(type="mmpretrain.GlobalAveragePooling"),
            head=dict(type="mmpretrain.LinearClsHead", num_classes=spec.num_classes, in_channels=8 * spec.embed_dims),
            init_cfg=init_cfg,
        )
    )
    model.eval()
    return model


def loaded(weights: ViTWeights) -> torch.nn.Module:
    model = classifier(weights.spec)
    missing, unexpected = model.load_state_dict(SWIN.state_dict(weights), strict=False)
    assert not unexpected and all(name.endswith("relative_position_index") for name in missing)
    return model


@torch.no_grad()
def features(model: torch.nn.Module, size: int = 32) -> torch.Tensor:
    model.eval()
    return model.backbone(torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)))[-1]


def planted(rows: dict[int, list[float]]) -> list[list[float]]:
    """Distances of 100, 200, ... for all heads, so that none cluster, but for the given blocks."""
    return [rows.get(block, [100.0 * (head + 1) for head in range(heads)]) for block, heads in enumerate(SPEC.heads)]


# ---------------------------------------------------------------------- sizes and checkpoints


def test_published_sizes():
    tiny = ViTSpec.parse("h3,6,12,24-l2,2,6,2", embed_dims=96)
    base = ViTSpec.parse("h4,8,16,32-l2,2,18,2", embed_dims=128)
    assert (tiny.num_params, base.num_params) == (28_288_354, 87_768_224)
    assert (round(tiny.macs / 1e9, 1), round(base.macs / 1e9, 1)) == (4.5, 15.4)
    assert ViTSpec(**tiny.asdict()) == ViTSpec.parse(tiny.asdict()) == tiny
    assert (
        tiny.replace(num_heads=[h for h, d in zip(tiny.num_heads, tiny.depths, strict=True) for _ in range(d)]) == tiny
    )


@pytest.mark.parametrize("arch, size", [("tiny", "h3,6,12,24-l2,2,6,2"), ("base", "h4,8,16,32-l2,2,18,2")])
def test_mmpretrains_checkpoints_show_their_size(arch, size, tmp_path):
    backbone = MODELS.build(dict(type="mmpretrain.SwinTransformer", arch=arch))
    torch.save({"state_dict": backbone.state_dict()}, tmp_path / "swin.pth")
    weights = load_ancestry(tmp_path / "swin.pth", like=LIKE)
    assert str(weights.spec) == size
    assert weights.spec.img_size == (224, 224) and weights.spec.num_classes == 0
    state = SWIN.state_dict(weights)
    for name, parameter in backbone.named_parameters():
        assert torch.equal(state[f"backbone.{name}"], parameter), name


def test_a_classifiers_checkpoint(tmp_path):
    model = loaded(ancestry())
    torch.save({"state_dict": model.state_dict()}, tmp_path / "swin.pth")
    with pytest.raises(LearngeneError, match="do not show img_size"):  # with other windows than what it is like
        load_ancestry(tmp_path / "swin.pth", like=LIKE)
    weights = load_ancestry(tmp_path / "swin.pth", like=LIKE, img_size=SPEC.img_size[0])
    assert weights.spec == SPEC
    assert torch.equal(features(loaded(weights)), features(model))


# ---------------------------------------------------------------------- the descendant


@pytest.mark.parametrize("order", [1, -1])
def test_every_head_kept_in_any_priority_gives_the_ancestry(order):
    weights = ancestry()
    heads = [list(range(count))[::order] for count in SPEC.heads]
    learngene = Cluster.extract(weights, eps=0) if order == 1 else Cluster.extract(weights, heads=heads)
    model = classifier()
    assert type(model.backbone) is SwinTransformer
    report = initialize(model, learngene)
    assert report.share == 1
    assert report.count("inherited") == SPEC.num_params and not report.count("random") + report.count("unused")
    expected = features(loaded(weights))
    atol = 1e-6 if order == 1 else 5e-6  # the projection sums the heads in another order
    torch.testing.assert_close(features(model), expected, rtol=0, atol=atol)
    # the tables follow their heads
    for layer, (block, own) in enumerate(zip(learngene.expand().layers(), weights.layers(), strict=True)):
        assert torch.equal(block["bias_table"], own["bias_table"][:, heads[layer]])
        assert torch.equal(block["proj.weight"], own["proj.weight"][:, heads[layer]])


def test_a_table_that_does_not_follow_its_head_would_show():
    weights = ancestry()
    expected = features(loaded(weights))
    weights.tensors["bias_table"] = [table.flip(1) for table in weights.tensors["bias_table"]]
    assert (features(loaded(weights)) - expected).abs().max() > 1e-3


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 3), min_size=BLOCKS, max_size=BLOCKS))
def test_repeated_heads_leave_the_function_of_a_block_alone(times):
    weights = ancestry()
    heads = [count * factor - (factor > 2) for count, factor in zip(SPEC.heads, times, strict=True)]  # uneven, too
    size = SPEC.replace(num_heads=heads)
    learngene = Cluster.extract(weights, eps=0)
    expected = features(loaded(weights))
    torch.testing.assert_close(features(loaded(learngene.expand(size))), expected, rtol=0, atol=2e-5)
    uncorrected = features(loaded(learngene.expand(size, repeat_correction=False)))
    assert ((uncorrected - expected).abs().max() > 1e-3) == (max(times) > 1)


def test_heads_of_each_stage_by_priority():
    weights = ancestry()
    rows = planted({2: [10, 50, 52, 54], 7: [float(head // 4) * 100 for head in range(16)]})
    learngene = Cluster.extract(weights, distances=rows)
    assert learngene.config["clusters"][2] == [[1, 2, 3], [0]] and learngene.config["heads"][2] == [2, 0]
    assert learngene.config["heads"][7] == [0, 4, 8, 12]
    layers = learngene.expand("h3,3,8,6-l2,2,3,1", repeat_correction=False).layers()
    for name in ("qkv.weight", "qkv.bias", "proj.weight", "bias_table"):
        assert torch.equal(layers[2][name], weights.tensors[name][2][:, [2, 0, 2]])
        assert torch.equal(layers[7][name], weights.tensors[name][7][:, [0, 4, 8, 12, 0, 4]])
        assert torch.equal(layers[0][name], weights.tensors[name][0][:, [0, 1, 0]])
    assert learngene.stored_params()["learngene"] < SPEC.num_params


def test_average_centroids_average_the_tables():
    weights = ancestry()
    learngene = Cluster.extract(weights, distances=planted({0: [5.0, 6.0]}), centroid="average")
    mean = weights.tensors["bias_table"][0].mean(1)
    torch.testing.assert_close(learngene.expand().layers()[0]["bias_table"], mean[:, None].expand(-1, 2))


def test_ffns_merge_within_a_stage_only():
    weights = ancestry()
    learngene = Cluster.extract(weights, distances=[[50.0] * heads for heads in SPEC.heads])
    assert learngene.config["ffns"] == [0, 0, 2, 2, 4, 4, 4, 7]
    layers = learngene.expand().layers()
    for layer, source in enumerate(learngene.config["ffns"]):
        torch.testing.assert_close(layers[layer]["fc1.weight"], weights.tensors["fc1.weight"][source])
    assert [name for name, _ in learngene.maps.named_parameters() if "0.weight" in name] == [
        "ffn0.0.weight",
        "ffn2.0.weight",
        "ffn4.0.weight",
    ]
    with pytest.raises(LearngeneError, match="ffns="):
        Cluster.extract(weights, eps=0, ffns=[0, 0, 0, 3, 4, 5, 6, 7])  # from another stage


def test_depth_is_chosen_within_each_stage():
    weights = ancestry()
    learngene = Cluster.extract(weights, eps=0)
    norms = weights.tensors["norm1.bias"]
    for size, depth, sources in [
        ("h2,4,8,16-l1,2,2,1", "first", [0, 2, 3, 4, 5, 7]),
        ("h2,4,8,16-l1,2,2,1", "uniform", [0, 2, 3, 4, 6, 7]),
        ("h2,4,8,16-l2,2,4,2", "uniform", [0, 1, 2, 3, 4, 4, 5, 6, 7, 7]),
    ]:
        found = [layer["norm1.bias"] for layer in learngene.expand(size, depth=depth).layers()]
        assert all(torch.equal(bias, norms[source]) for bias, source in zip(found, sources, strict=True))
    with pytest.raises(LearngeneError, match="uniform"):
        learngene.expand("h2,4,8,16-l2,2,4,1")


def test_every_parameter_gets_a_gradient():
    learngene = Cluster.extract(ancestry(), distances=[[50.0] * heads for heads in SPEC.heads])
    for name, tensor in learngene.maps.named_parameters():
        tensor.data += 0.01 if "bias" in name else 0  # off the kink of the ReLU
    state = SWIN.state_dict(learngene.expand("h3,2,8,5-l2,2,3,1"))
    sum(tensor.square().sum() for tensor in state.values()).backward()
    for name, parameter in learngene.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


# ---------------------------------------------------------------------- attention distances


def mean_distance(grid: int, shift: int) -> float:
    """Of uniform attention in windows of 2 x 2, in patches; keys that a shift has wrapped around are masked."""
    means = []
    for row, column in product(range(grid), repeat=2):
        near = [(2 * (row // 2) + a, 2 * (column // 2) + b) for a, b in product(range(2), repeat=2)]
        steps = []
        for r, c in near:
            true = [((a + shift) % grid) - ((b + shift) % grid) for a, b in ((r, row), (c, column))]
            if true == [r - row, c - column]:  # not on the other side of the image
                steps.append(np.hypot(*true))
        means.append(np.mean(steps))
    return float(np.mean(means))


def test_distances_of_uniform_attention_in_plain_and_shifted_windows_in_pixels():
    weights = ancestry()
    for name in ("qkv.weight", "qkv.bias", "bias_table"):
        weights.tensors[name] = [torch.zeros_like(tensor) for tensor in weights.tensors[name]]
    found = mean_attention_distance(weights, [torch.randn(2, 3, 32, 32), torch.randn(1, 3, 32, 32)])
    expected = []
    for stage, blocks in enumerate(SPEC.stages):
        grid, patch = 16 >> stage, 2 << stage
        shifts = [int(number % 2 and grid > 2) for number in range(len(blocks))]
        expected += [patch * mean_distance(grid, shift) for shift in shifts]
    for layer, heads in enumerate(SPEC.heads):
        assert found[layer, :heads].tolist() == pytest.approx([expected[layer]] * heads, rel=1e-5)
        assert found[layer, heads:].isnan().all()
    assert expected[0] > expected[1]  # the mask shortens


def test_heads_cluster_by_the_distances_that_their_tables_make():
    weights = ancestry()
    for name in ("qkv.weight", "qkv.bias", "bias_table"):
        weights.tensors[name] = [torch.zeros_like(tensor) for tensor in weights.tensors[name]]
    # tables of windows of 2: 3 x 3 relative positions, the middle one is the patch itself
    weights.tensors["bias_table"][4][4, [0, 3, 5]] = 100
    learngene = extract("cluster", weights, data=[torch.randn(2, 3, 32, 32)], eps=1)
    assert learngene.config["clusters"][4] == [[1, 2, 4, 6, 7], [0, 3, 5]]
    assert [learngene.config["distances"][4][head] for head in (0, 3, 5)] == [0, 0, 0]


def test_the_figure_shows_blocks(tmp_path):
    learngene = Cluster.extract(ancestry(), distances=planted({2: [10, 50, 52, 54]}))
    assert plot_clusters(learngene, tmp_path / "clusters.png").stat().st_size > 1000


# ---------------------------------------------------------------------- files, models, configs


def gene(folder: Path, **options) -> Path:
    options = options or dict(distances=planted({2: [10, 50, 52, 54]}))
    return Cluster.extract(ancestry(), **options).save(folder / "gene.safetensors")


def test_saved_and_loaded_it_expands_to_the_same(tmp_path):
    learngene = Cluster.extract(ancestry(), distances=planted({2: [10, 50, 52, 54]}))
    again = load(learngene.save(tmp_path / "gene.safetensors"))
    assert again.config == learngene.config and again.aux_spec == SPEC
    assert again.learngene_spec.num_heads == (2, 2, 2, 4, 8, 8, 8, 16)
    expected = SWIN.state_dict(learngene.expand("h3,3,8,6-l2,2,3,1"))
    for name, tensor in SWIN.state_dict(again.expand("h3,3,8,6-l2,2,3,1")).items():
        assert torch.equal(tensor, expected[name])


@pytest.mark.parametrize("where", ["classifier", "backbone"])
@pytest.mark.parametrize("heads", [(2, 4, 8, 16), (3, 3, 8, 6), (1, 2, 3, 4, 5, 6, 7, 8)])
def test_init_cfg_of_a_config(heads, where, tmp_path):
    file, spec = gene(tmp_path), SPEC.replace(num_heads=heads)
    init = dict(type="Learngene", checkpoint=str(file))
    model = classifier(spec, init) if where == "classifier" else MODELS.build(backbone_cfg(spec, init_cfg=init))
    model.init_weights()
    expected = SWIN.state_dict(load(file).expand(spec))
    prefix = "backbone." if where == "backbone" else ""
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, expected[prefix + name]), name
    assert model.load_report.share == 1


@pytest.mark.parametrize("kind", ["mmlearngene.ElasticSwin", "mmpretrain.SwinTransformer", "mmseg.SwinTransformer"])
def test_initializes_a_backbone_of_a_segmentor(kind, tmp_path):
    from mmseg.registry import MODELS as SEG_MODELS
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    file = gene(tmp_path)
    spec = SPEC.replace(num_heads=(3, 3, 8, 6)) if "Elastic" in kind else SPEC
    backbone = backbone_cfg(spec, out_indices=(0, 1, 2, 3))
    if kind == "mmseg.SwinTransformer":
        backbone = dict(
            embed_dims=8,
            depths=SPEC.depths,
            num_heads=SPEC.num_heads,
            window_size=2,
            patch_size=2,
            strides=(2, 2, 2, 2),
        )
    head = dict(
        type="UPerHead",
        in_channels=[8, 16, 32, 64],
        channels=8,
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2),
        num_classes=4,
    )
    cfg = dict(
        type="EncoderDecoder",
        backbone={**backbone, "type": kind},
        decode_head=head,
        test_cfg={},
        init_cfg=dict(type="Learngene", checkpoint=str(file)),
    )
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = SEG_MODELS.build(cfg)
        model.init_weights()
    expected = SWIN.state_dict(load(file).expand(spec))
    for name, parameter in model.backbone.named_parameters():
        if not name.startswith(("norm0", "norm1", "norm2")):  # of feature maps, which a classifier has not
            assert torch.equal(parameter, expected[f"backbone.{name}"]), name
    model.eval()
    maps = model.backbone(torch.randn(1, 3, 64, 96))
    assert [tuple(out.shape[1:]) for out in maps] == [(8, 32, 48), (16, 16, 24), (32, 8, 12), (64, 4, 6)]


def test_elastic_swin_is_the_plain_one_where_widths_agree():
    plain = classifier().backbone
    settings = backbone_cfg(SPEC)
    elastic = MODELS.build(dict(settings, type="mmlearngene.ElasticSwin"))
    elastic.load_state_dict(plain.state_dict(), strict=True)
    assert elastic.state_dict().keys() == plain.state_dict().keys()
    elastic.eval()
    x = torch.randn(2, 3, 48, 40)  # padded windows, too
    torch.testing.assert_close(elastic(x)[0], plain(x)[0], rtol=0, atol=1e-6)
    with pytest.raises(LearngeneError, match="3 entries for 4 stages of 12 blocks"):
        ElasticSwin("tiny", num_heads=[3, 6, 12])


@pytest.fixture
def folder(tmp_path):
    numbers = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(4):
        Image.fromarray(numbers.integers(0, 255, (40, 44, 3), dtype=np.uint8)).save(tmp_path / "images" / f"{i}.png")
    return tmp_path / "images"


def test_the_command_line_extracts_inspects_and_expands(folder, tmp_path, capsys):
    torch.save({"state_dict": loaded(ancestry()).state_dict()}, tmp_path / "swin.pth")
    out, state = str(tmp_path / "gene.safetensors"), str(tmp_path / "swin.safetensors")
    command = [
        "extract",
        "--method",
        "cluster",
        "--ancestry",
        str(tmp_path / "swin.pth"),
        "--like",
        LIKE,
        "--data",
        str(folder),
    ]
    assert main([*command, "--option", "eps=0.3", "--option", f"img_size={SPEC.img_size[0]}", "-o", out]) == 0
    learngene = load(out)
    assert learngene.aux_spec == SPEC and learngene.provenance["data"] == "images"
    assert min(len(kept) - count for kept, count in zip(learngene.config["heads"], SPEC.heads, strict=True)) < 0
    capsys.readouterr()
    assert main(["inspect", out]) == 0
    assert "h2,4,8,16-l2,2,3,1" in capsys.readouterr().out
    assert main(["inspect", out, "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert [row["size"] for row in described["sizes"]] == [
        f"h{h}-l2,2,3,1" for h in ("1,2,4,8", "2,4,8,16", "4,8,16,32")
    ]
    expand = ["expand", out, "--arch", "h3,3,8,6-l2,2,3,1", "-o", state]
    assert main([*expand, "--layout", "hf"]) == 2
    assert "writes a folder" in capsys.readouterr().err
    assert main([*expand, "--layout", "mmpretrain"]) == 0
    assert load_ancestry(state).spec.num_heads == (3, 3, 8, 6)


# ---------------------------------------------------------------------- bad input


def test_bad_input_is_told_before_any_work(tmp_path):
    weights = ancestry()
    learngene = Cluster.extract(weights, eps=0)
    for options, message in [
        (dict(), "needs images"),
        (dict(distances=torch.zeros(8, 4)), "do not fit the ancestry h2,4,8,16"),
        (dict(heads=[[0]] * 7), "has 8"),
        (dict(heads=[[2]] * 8), "of layer 0: expected different ones of 0 to 1"),
    ]:
        with pytest.raises(LearngeneError, match=message):
            Cluster.extract(weights, **options)
    for size, message in [
        ("h2,4,8-l2,2,3,1", "one number for each of 4 stages"),
        ("h2,4,8-l2,2,3", "of 3 stages, and this cluster learngene expands to a Swin of 4"),
        ("h6-l12", "of 1 stages, and this cluster learngene expands to a Swin of 4"),
        ("h2,4,8,65-l2,2,3,1", "the nearest size is h2,4,8,64-l2,2,3,1"),
        ("h0,4,8,16-l2,2,3,1", "must be positive"),
        ("swin-t", "is not a ViT size"),
        (SPEC.replace(window_size=3), "window_size=3"),
        (SPEC.replace(embed_dims=16), "embed_dims=16"),
    ]:
        with pytest.raises(LearngeneError, match=message):
            learngene.expand(size)
    for method in ("lets", "tleg", "sws", "first-k", "weight-selection"):
        assert "stages" in LEARNGENES[method].refuses(SPEC)
    with pytest.raises(
        LearngeneError, match="first-k cannot treat weights, a Swin with stages.*methods for it: cluster, peg"
    ):
        extract("first-k", weights)
    vit = MODELS.build(dict(type="mmpretrain.VisionTransformer", arch="deit-tiny", img_size=32))
    with pytest.raises(LearngeneError, match="VisionTransformer is a ViT, .* expands a Swin"):
        initialize(vit, learngene)
    with pytest.raises(LearngeneError, match="SwinTransformer is a Swin, .* expands a ViT"):
        initialize(classifier().backbone, Cluster.extract(vit_ancestry(), eps=0))
    other = MODELS.build(backbone_cfg(SPEC, window_size=3, img_size=48))
    before = {name: parameter.clone() for name, parameter in other.named_parameters()}
    with pytest.raises(LearngeneError, match="window_size=3"):
        initialize(other, learngene)
    assert all(torch.equal(parameter, before[name]) for name, parameter in other.named_parameters())
    known = dict(norm_eps=1e-5, act="gelu", post_norm=False, rope="none")
    state = SWIN.state_dict(weights)
    del state["backbone.stages.1.downsample.reduction.weight"]
    with pytest.raises(LearngeneError, match="downsample.reduction.weight"):
        SWIN.from_state_dict(state, **known)
    with pytest.raises(LearngeneError, match="not a ViT in the layout of mmpretrain's SwinTransformer"):
        SWIN.from_state_dict(vit.state_dict(), **known)


@pytest.mark.parametrize("method, size", [("cluster", "h1,2,4,8-l2,2,3,1"), ("peg", "h1,2,4,8-l1,2,2,1")])
def test_a_descendant_swin_trains_as_an_expansion(method, size):
    """Its merged FFNs' maps (Cluster) and its sampled heads (PEG) get gradients, each stage's."""
    torch.manual_seed(0)
    learngene = extract(
        method,
        ancestry(),
        **(
            dict(
                heads=[[0, 1]] * 2 + [[0, 1, 2, 3]] * 2 + [list(range(8))] * 3 + [list(range(16))],
                ffns=[0, 0, 2, 2, 4, 4, 4, 7],
            )
            if method == "cluster"
            else {}
        ),
    )
    net = AuxNet(learngene, size=size, head=dict(loss=dict(type="CrossEntropyLoss")))
    x = torch.randn(2, 3, 32, 32)
    net(x, [DataSample().set_gt_label(label) for label in (0, 1)], mode="loss")["loss"].backward()
    for name, parameter in learngene.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name
    spec = learngene.target(size)
    plain = build(learngene.expand(size), "mmpretrain").eval()
    torch.testing.assert_close(net.eval()(x), plain(x), rtol=0, atol=1e-5)
    assert spec.num_params == sum(parameter.numel() for parameter in plain.parameters())


# ---------------------------------------------------------------------- configs


@pytest.mark.parametrize("path", sorted((CONFIGS / "cluster").glob("des_swin*.py")), ids=lambda path: path.stem)
def test_a_config_trains(path, images, teacher, tmp_path):  # noqa: F811
    """The config's backbone with heads 4 wide, five blocks, and four images."""
    cfg = Config.fromfile(path)
    backbone = cfg.model.pop("backbone")
    settings = ElasticSwin.arch_zoo[backbone.arch]
    assert cfg.model.head.in_channels == 8 * settings["embed_dims"]
    shrink(cfg, images, teacher, tmp_path)
    width = settings["embed_dims"] // 8
    heads = settings["num_heads"]
    spec = ViTSpec.parse(f"h{','.join(map(str, heads))}-l1,2,1,1", embed_dims=width, head_dim=4)
    backbone.arch = dict(embed_dims=width, depths=list(spec.depths), num_heads=heads)
    if "head_dims" in backbone:
        backbone.head_dims = 4
    cfg.model.backbone = backbone
    cfg.model.head.in_channels = 8 * width
    file = extract("cluster", ancestry(spec), eps=0).save(tmp_path / "gene.safetensors")
    cfg.model.init_cfg.checkpoint = str(file)
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.model.load_report.share == 1
    assert all(parameter.isfinite().all() for parameter in runner.model.parameters())
