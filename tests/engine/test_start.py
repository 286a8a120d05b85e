"""A learngene that is to be trained begins with the weights of a ViT."""

import pytest
import torch
from mmengine.config import Config

from mmlearngene import LearngeneError, ViTSpec, ViTWeights, extract, initialize, load
from mmlearngene.engine import LearngeneExportHook, LearngeneInitHook
from mmlearngene.engine.run.init_check import check_learngenes, check_starts
from mmlearngene.frameworks import build
from mmlearngene.learngenes.base import learngenes_in
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.learngenes.sws import SWS
from mmlearngene.learngenes.tleg import TLEG
from mmlearngene.registry import MODELS

from ..support.runners import make_runner

TINY = dict(head_dim=4, img_size=8, patch_size=4, num_classes=3)


@pytest.fixture
def source():
    torch.manual_seed(0)
    spec = ViTSpec.parse("h3-l8", **TINY)
    tensors = {name: torch.randn(shape) for name, shape in spec.shapes().items()}
    return extract("weight-selection", ViTWeights(spec, tensors))


def lets(**options):
    return LeTs(learngene="h1-l4", aux="h3-l8", groups=2, **TINY, **options)


def tleg():
    return TLEG(aux="h3-l8", **TINY)


def sws():
    return SWS(aux="h3-l8", stages=[2, 2, 2, 2], **TINY)


@pytest.mark.parametrize("keep_original", [True, False])
def test_lets_begins_with_a_narrow_vit_and_keeps_its_maps(source, keep_original):
    torch.manual_seed(1)
    gene = lets(keep_original=keep_original)
    maps = {name: tensor.clone() for name, tensor in gene.maps.tensors().items()}
    report = initialize(gene, source)
    assert report.size == "h1-l4" and report.share == 1 and report.count("random") == 0
    given = source.expand(gene.learngene_spec)
    for name, tensor in gene.learngene.tensors().items():
        assert torch.equal(tensor, given.tensors[name]), name
    assert all(torch.equal(tensor, maps[name]) for name, tensor in gene.maps.tensors().items())
    # what the residual stream gets is widened by one map, positions as the patch embedding
    wide, patches = gene.expand(), given.tensors["patch_embed.weight"].flatten(1)
    widen = maps["embed"] if not keep_original else torch.cat([torch.eye(4), maps["embed"]])
    torch.testing.assert_close(wide.tensors["pos_embed"], given.tensors["pos_embed"] @ widen.T)
    torch.testing.assert_close(wide.tensors["patch_embed.weight"].flatten(1), widen @ patches)


def test_tleg_begins_with_first_and_last_layer(source):
    gene = tleg()
    initialize(gene, source)
    ends, whole = source.expand("h3-l2", depth="uniform"), gene.expand()
    for name, tensor in ends.tensors.items():
        found = whole.tensors[name]
        torch.testing.assert_close(found[[0, -1]] if name in ends.layers()[0] else found, tensor)


def test_sws_begins_with_a_layer_a_stage(source):
    gene = sws()
    initialize(gene, source)
    layers, given = gene.expand().layers(), source.expand("h3-l4", depth="uniform").layers()
    for layer, tensors in enumerate(layers):
        assert all(torch.equal(tensor, given[layer // 2][name]) for name, tensor in tensors.items())


def test_another_classifier_starts_fresh(source):
    gene = LeTs(learngene="h1-l4", aux="h3-l8", groups=2, **{**TINY, "num_classes": 5})
    report = initialize(gene, source)
    assert {name for name, status, _ in report.tensors if status == "random"} == {"head.weight", "head.bias"}


@pytest.mark.parametrize("make", [lets, tleg, sws])
@pytest.mark.parametrize("left", [dict(skip="qkv.*,pos_embed"), dict(head="fresh")])
def test_what_is_left_out_keeps_its_own_values(source, make, left):
    gene = make()
    with torch.no_grad():
        for parameter in gene.parameters():
            parameter.normal_()
    before = {name: tensor.clone() for name, tensor in gene.state_dict().items()}
    initialize(gene, source, **left, min_inherited=0)
    kept = {name for name, tensor in gene.state_dict().items() if torch.equal(tensor, before[name])}
    named = ("qkv", "pos_embed") if "skip" in left else ("head",)
    expected = {name for name in before if name.startswith("maps.") or any(part in name for part in named)}
    assert kept == expected


def test_what_is_resized_is_taken_too(source):
    """Positions of the source's images and the patch embedding, in the learngene's sizes."""
    torch.manual_seed(1)
    gene = LeTs(learngene="h1-l4", aux="h3-l8", groups=2, **{**TINY, "img_size": 12, "patch_size": 2})
    report = initialize(gene, source)
    assert {name for name, status, _ in report.tensors if status == "resized"} == {
        "pos_embed",
        "patch_embed.proj.weight",
    }
    given, own = source.expand(gene.learngene_spec), gene.learngene.tensors()
    assert report.share == 1
    for name in ("patch_embed.weight", "qkv.weight"):
        assert torch.equal(own[name], given.tensors[name])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_learngene_of_another_type(source, dtype):
    gene = lets().to(dtype)
    initialize(gene, source)
    given = source.expand(gene.learngene_spec).tensors["qkv.weight"]
    assert torch.equal(gene.learngene.qkv.weight, given.to(dtype))


def test_a_vit_that_timm_has_not(source):
    """Rotary positions and SwiGLU with a bias of its own, as EVA-02 in mmpretrain."""
    features = dict(rope="tiled", mlp="swiglu", class_token=True, pool="cls")
    spec = ViTSpec.parse("h3-l8", **{**TINY, "head_dim": 8}, **features)
    eva = extract("weight-selection", ViTWeights(spec, {name: torch.randn(s) for name, s in spec.shapes().items()}))
    gene = SWS(aux="h3-l8", stages=[4, 4], **{**TINY, "head_dim": 8}, **features)
    assert initialize(gene, eva).share == 1
    assert torch.equal(gene.expand().tensors["qkv.weight"][1], eva.expand().tensors["qkv.weight"][7])


def test_a_vit_goes_before_a_learngene_beside_it(source):
    vit = build(ViTWeights(spec := ViTSpec.parse("h2-l3", **TINY), {}))
    both = torch.nn.ModuleDict(dict(gene=lets(), vit=vit))
    report = initialize(both, source)
    assert (report.size, report.started) == (str(spec), False)
    assert torch.equal(
        vit.patch_embed.proj.weight.flatten(1), source.expand(spec).tensors["patch_embed.weight"].flatten(1)
    )


def test_what_does_not_fit_is_told_and_changes_nothing(source):
    gene = lets(class_token=True, pool="cls")
    before = {name: tensor.clone() for name, tensor in gene.state_dict().items()}
    with pytest.raises(LearngeneError, match="class_token=True in the model, class_token=False in the learngene"):
        initialize(gene, source)
    narrow = extract("first-k", source.expand())
    with pytest.raises(LearngeneError, match="expands to 3 heads .*, not to h1-l4; the nearest size is h3-l4"):
        initialize(lets(), narrow)
    assert all(torch.equal(tensor, before[name]) for name, tensor in gene.state_dict().items())
    with pytest.raises(
        LearngeneError, match="a first-k learngene does not start from .*; those that do: lets, sws, tl"
    ):
        initialize(narrow, source)
    with pytest.raises(LearngeneError, match="a scratch learngene does not start from"):
        initialize(extract("scratch", source.expand()), source)


@pytest.fixture
def config(source, tmp_path) -> Config:
    path = source.save(tmp_path / "source.safetensors")
    learngene = dict(type="mmlearngene.LeTs", learngene="h1-l4", aux="h3-l8", groups=2, **TINY)
    start = dict(type="Learngene", checkpoint=str(path))
    return Config(dict(model=dict(type="mmlearngene.AuxNet", learngene=learngene, init_cfg=start)))


def test_an_aux_net_of_a_config_starts_and_its_file_says_so(source, config, tmp_path):
    source.provenance["licenses"] = ["cc-by-nc-4.0"]
    source.save(config.model.init_cfg.checkpoint)
    check_learngenes(config)
    check_starts(config)
    runner = make_runner(MODELS.build(config.model), tmp_path / "run", [LearngeneExportHook()], lr=0.0)
    runner.train()
    gene = load(tmp_path / "run" / "epoch_2.learngene.safetensors")
    given = source.expand(gene.learngene_spec)
    assert all(torch.equal(tensor, given.tensors[name]) for name, tensor in gene.learngene.tensors().items())
    assert gene.provenance["start"] == f"weight-selection ({tmp_path / 'source.safetensors'})"
    # a resumed run takes nothing from the file, and still says what it began with
    again = make_runner(
        MODELS.build({**config.model, "init_cfg": None}),
        tmp_path / "run",
        [LearngeneExportHook()],
        epochs=3,
        load_from=str(tmp_path / "run" / "epoch_2.pth"),
        resume=True,
    )
    again.train()
    resumed = load(tmp_path / "run" / "epoch_3.learngene.safetensors").provenance
    assert resumed["start"] == gene.provenance["start"]
    assert resumed["licenses"] == gene.provenance["licenses"] == ["cc-by-nc-4.0"]
    # other weights are loaded over it
    other = str(tmp_path / "run" / "epoch_2.pth")
    third = make_runner(MODELS.build(config.model), tmp_path / "third", [LearngeneExportHook()], load_from=other)
    third.train()
    assert load(tmp_path / "third" / "epoch_2.learngene.safetensors").provenance["start"] == other


def test_an_aux_net_of_features_starts_without_a_classifier(config):
    config.model.learngene.num_classes = 0  # which a distiller of features gives it
    check_starts(config)


def test_a_config_without_a_file_or_with_one_that_is_missing(config):
    config.model.init_cfg.checkpoint = "work_dirs/controls/weight-selection.safetensors"
    with pytest.raises(
        LearngeneError, match="run `mmlearngene extract --method weight-selection --ancestry MODEL -o work"
    ):
        check_learngenes(config)
    del config.model.init_cfg["checkpoint"]
    with pytest.raises(LearngeneError, match="model.init_cfg names no file; expected model.init_cfg.checkpoint=FILE"):
        check_learngenes(config)


def test_a_start_that_does_not_fit_is_told_before_any_work(config):
    config.model.learngene.update(learngene="h2-l4", aux="h4-l8", head_dim=8)
    with pytest.raises(LearngeneError, match="head_dim.*The config has this learngene as model.init_cfg"):
        check_starts(config)


def test_the_hook_starts_an_aux_net(source, config, tmp_path):
    path = config.model.pop("init_cfg").checkpoint
    model = MODELS.build(config.model)
    assert list(learngenes_in(torch.nn.Sequential(model))) == [("0.learngene", model.learngene)]  # as in a distiller
    runner = make_runner(model, tmp_path / "run", [LearngeneInitHook(checkpoint=path), LearngeneExportHook()], lr=0.0)
    runner.train()
    gene = load(tmp_path / "run" / "epoch_2.learngene.safetensors")
    given = source.expand(gene.learngene_spec)
    assert all(torch.equal(tensor, given.tensors[name]) for name, tensor in gene.learngene.tensors().items())
    assert gene.provenance["start"].startswith("weight-selection (")
