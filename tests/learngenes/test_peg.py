"""PEG: sampling, identity mixtures, both forms of descendant, gradients, redrawing, and a trained ancestry."""

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmlearngene import LearngeneError, ViTSpec, ViTWeights, initialize, load
from mmlearngene.frameworks.mmpretrain import classifier_cfg
from mmlearngene.frameworks.timm import VIT as TIMM
from mmlearngene.learngenes.extracted import map_start, mapped
from mmlearngene.learngenes.peg import PEG, mixture
from mmlearngene.models import AuxNet
from mmlearngene.registry import MODELS
from mmlearngene.use.figures import plot_mixtures

from ..support import digits
from ..support.ancestries import TINY, ancestry, logits

IDENTITY = dict(heads=4, layers=4, sampling="identity", map_init="identity")


def peg_classifier(spec: ViTSpec, learngene_heads: int) -> torch.nn.Module:
    backbone = dict(
        type="mmlearngene.PEGViT", learngene_heads=learngene_heads, num_heads=list(spec.heads), head_dims=spec.head_dim
    )
    return MODELS.build(classifier_cfg(spec, backbone=backbone))


# ---------------------------------------------------------------------- sampling


def test_the_first_draw_does_not_share_the_seed_of_the_maps():
    learngene = PEG(ViTSpec(3, 4, head_dim=4), heads=2, layers=2, seed=5)
    generator = torch.Generator().manual_seed(6)
    expected = {"heads": torch.randn(4, 2, 3, generator=generator), "ffn": torch.randn(2, 4, generator=generator)}
    for name, logits_ in expected.items():
        torch.testing.assert_close(learngene.mixtures(0)[name], logits_.softmax(-1))
    maps = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(5)).softmax(-1)
    torch.testing.assert_close(learngene.maps.tensors()["logits.2.weight"][..., :2], maps)


def test_frozen_stages_of_a_peg_vit_are_frozen_with_their_maps():
    cfg = dict(type="mmlearngene.PEGViT", learngene_heads=2, arch="deit-tiny", img_size=32, patch_size=8)
    model = MODELS.build(dict(cfg, frozen_stages=2))
    trains = [{p.requires_grad for p in layer.parameters()} for layer in model.layers]
    assert trains == [{False}] * 2 + [{True}] * 10
    assert all("attn.logits.0.weight" in dict(layer.named_parameters()) for layer in model.layers)


def test_mixtures_are_convex_and_follow_the_seed():
    def draw(sampling, seed=0, shape=(3, 2, 5)):
        return mixture(shape, sampling, torch.Generator().manual_seed(seed))

    for sampling in ("gaussian", "uniform", "identity"):
        coefficients = draw(sampling)
        assert coefficients.shape == (3, 2, 5) and coefficients.min() >= 0
        torch.testing.assert_close(coefficients.sum(-1), torch.ones(3, 2))
    assert torch.equal(draw("gaussian"), draw("gaussian")) and not torch.equal(draw("gaussian"), draw("gaussian", 1))
    assert torch.equal(draw("uniform"), torch.full((3, 2, 5), 0.2))
    assert torch.equal(draw("identity", shape=(4, 4)), torch.eye(4))


@pytest.mark.parametrize("projection", ["cut", "mixed"])
def test_the_learngene_is_the_mixture_of_the_ancestrys_heads_and_ffns(projection):
    weights = ancestry(class_token=True)
    learngene = PEG.extract(weights, seed=7, projection=projection)
    assert learngene.config["heads"] == 3 and learngene.config["layers"] == 2  # ceil(4 / 1.5), 4 / 2
    own, mixtures = learngene.learngene.tensors(), learngene.mixtures()
    for layer in range(4):
        for b in range(3):
            for name in ["qkv.weight", "qkv.bias"] + ["proj.weight"] * (projection == "mixed"):
                heads = weights.tensors[name][layer].unbind(1)
                expected = sum(p * head for p, head in zip(mixtures["heads"][layer, b], heads, strict=True))
                torch.testing.assert_close(own[name][layer][:, b], expected)
    for b in range(2):
        for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"):
            expected = sum(p * ffn for p, ffn in zip(mixtures["ffn"][b], weights.tensors[name], strict=True))
            torch.testing.assert_close(own[name][b], expected)
    for name in ("norm1.weight", "proj.bias", "cls_token", "pos_embed", "head.weight"):
        assert torch.equal(own[name], weights.tensors[name])
    if projection == "cut":
        assert torch.equal(own["proj.weight"], weights.tensors["proj.weight"])


def test_the_paper_sizes():
    for heads, learngene_heads in ((3, 2), (6, 4), (12, 8)):
        with torch.device("meta"):
            learngene = PEG(ViTSpec.parse(f"h{heads}-l12"))
        assert (learngene.config["heads"], learngene.config["layers"]) == (learngene_heads, 6)


# ---------------------------------------------------------------------- maps


def test_maps_start_as_their_mixture_and_are_not_linear_after_training():
    coefficients = torch.rand(5, 4, 3)
    start = {f"m.{part}": tensor for part, tensor in map_start(coefficients).items()}
    x = torch.randn(5, 3, 2, 7)
    torch.testing.assert_close(mapped(x, start, "m"), torch.einsum("loi,lixy->loxy", coefficients, x))
    start["m.2.weight"][..., :3] *= 2  # the positive side only
    assert (mapped(x, start, "m") + mapped(-x, start, "m")).abs().max() > 1e-2


def test_linear_maps_are_linear_and_start_as_their_mixture():
    coefficients = torch.rand(5, 4, 3)
    start = {f"m.{part}": tensor for part, tensor in map_start(coefficients, linear=True).items()}
    x = torch.randn(5, 3, 2, 7)
    torch.testing.assert_close(mapped(x, start, "m", linear=True), torch.einsum("loi,lixy->loxy", coefficients, x))
    start["m.2.weight"][..., :3] *= 2
    torch.testing.assert_close(mapped(x, start, "m", linear=True), -mapped(-x, start, "m", linear=True))


def test_linear_maps_and_relu_start_alike_but_only_relu_stays_in_the_attention(tmp_path):
    weights, x = ancestry(), torch.randn(3, 3, 16, 16)
    linear, relu = PEG.extract(weights, linear=True), PEG.extract(weights)
    torch.testing.assert_close(logits(linear.expand("h3-l4"), x), logits(relu.expand("h3-l4"), x), rtol=0, atol=1e-5)
    loaded = load(linear.save(tmp_path / "gene.safetensors"))
    assert torch.equal(logits(loaded.expand("h3-l4"), x), logits(linear.expand("h3-l4"), x))
    with pytest.raises(LearngeneError, match="form='maps' has a ReLU"):
        linear.expand("h3-l4", form="maps")


def test_the_map_of_the_ffns_may_have_fewer_outputs():
    weights = ancestry()
    learngene = PEG.extract(weights, ffn_outputs=3)
    assert learngene.span == "1 to 4 heads and 1 to 3 layers"
    every = mapped(learngene.learngene.tensors()["fc1.weight"], learngene.maps.tensors(), "ffn")
    assert len(every) == 3
    for depth, ffns, sources in (("first", [0, 1], [0, 1]), ("uniform", [0, 2], [0, 3])):
        layers = learngene.expand("h4-l2", depth=depth).layers()
        assert torch.equal(torch.stack([layer["fc1.weight"] for layer in layers]), every[ffns])
        assert torch.equal(
            torch.stack([layer["norm1.weight"] for layer in layers]), weights.tensors["norm1.weight"][sources]
        )
    with pytest.raises(LearngeneError, match="the nearest size is h4-l3"):
        learngene.expand("h4-l4")
    with pytest.raises(LearngeneError, match="ffn_outputs=5: the ancestry h4-l4 has .4. layers"):
        PEG.extract(weights, ffn_outputs=5)


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("projection", ["cut", "mixed"])
@pytest.mark.parametrize("form", ["folded", "maps"])
def test_identity_mixtures_give_the_ancestry(class_token, projection, form):
    weights, x = ancestry(class_token), torch.randn(3, 3, 16, 16)
    learngene = PEG.extract(weights, **IDENTITY, projection=projection)
    if form == "folded":
        found = logits(learngene.expand(), x)
    else:
        model = peg_classifier(weights.spec, 4)
        assert initialize(model, learngene).share == 1
        found = model.eval()(x)
    # the maps' attention is computed step by step, timm's in one fused kernel
    tolerance = 1e-6 if form == "folded" else 1e-5
    torch.testing.assert_close(found, logits(weights, x), rtol=0, atol=tolerance)


def test_the_start_is_a_mixture_in_both_forms():
    weights = ancestry()
    learngene = PEG.extract(weights)
    own = learngene.learngene.tensors()
    maps = learngene.maps.tensors()
    m = {name: maps[f"{name}.2.weight"][:, :, :3] for name in ("logits", "values")}  # what map_start was given
    torch.testing.assert_close(m["logits"].sum(-1), torch.ones(4, 4))
    qkv = torch.stack([layer["qkv.weight"] for layer in learngene.expand("h2-l3").layers()])
    for part, name in enumerate(("logits", "logits", "values")):
        expected = torch.einsum("loi,li...->lo...", m[name][:3, :2], own["qkv.weight"][:3, part])
        torch.testing.assert_close(qkv[:, part], expected, rtol=0, atol=1e-6)

    model = peg_classifier(learngene.target("h2-l3"), 3)
    report = initialize(model, learngene)
    assert report.share == 1 and report.count("unused") == 0
    attention = model.backbone.layers[1].attn
    logits_ = torch.randn(2, 5, 5, 3)
    torch.testing.assert_close(attention.logits(logits_), logits_ @ m["logits"][1, :2].T, rtol=0, atol=1e-6)


def test_peg_attention_is_the_papers_formula():
    torch.manual_seed(0)
    spec = ViTSpec.parse("h4-l1", **TINY)
    attention = peg_classifier(spec, 3).backbone.layers[0].attn
    x = torch.randn(2, 5, 32)
    q, k, v = attention.qkv(x).view(2, 5, 3, 3, 8).unbind(2)
    logit = torch.einsum("bnhd,bmhd->bnmh", q, k) / 8**0.5
    weights = attention.logits(logit).softmax(2)  # over keys
    values = attention.values(v.transpose(2, 3)).transpose(2, 3)
    out = torch.einsum("bnmh,bmhd->bnhd", weights, values).flatten(2)
    torch.testing.assert_close(attention(x), attention.proj(out))


@pytest.mark.parametrize("size", ["h3-l3", "h4,1,2-l3"])
@pytest.mark.parametrize("form", ["folded", "maps"])
def test_smaller_descendants_take_the_first_outputs_layers_and_columns(size, form):
    weights = ancestry()
    learngene = PEG.extract(weights)
    full, small = learngene.expand(form=form).layers(), learngene.expand(size, form=form)
    for layer, heads in enumerate(small.spec.heads):
        found = small.layers()[layer]
        assert torch.equal(found["proj.weight"], weights.tensors["proj.weight"][layer][:, :heads])
        assert torch.equal(found["norm1.bias"], weights.tensors["norm1.bias"][layer])
        torch.testing.assert_close(found["fc1.weight"], full[layer]["fc1.weight"])
        if form == "folded":
            torch.testing.assert_close(found["qkv.weight"], full[layer]["qkv.weight"][:, :heads])
        else:
            assert found["qkv.weight"].shape == (3, 3, 8, 32)
            assert torch.equal(found["logits.2.weight"], full[layer]["logits.2.weight"][:heads])


# ---------------------------------------------------------------------- training and files


def trained(net, parameters) -> None:
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    torch.nn.functional.cross_entropy(net(torch.randn(4, 3, 16, 16)), torch.tensor([0, 1, 2, 3])).backward()
    optimizer.step()


@pytest.mark.parametrize("projection", ["cut", "mixed"])
def test_a_step_of_training_through_the_aux_net_changes_everything(projection):
    learngene = PEG.extract(ancestry(), projection=projection)
    before = {name: tensor.detach().clone() for name, tensor in learngene.named_parameters()}
    trained(AuxNet(learngene), learngene.parameters())
    for name, tensor in learngene.named_parameters():
        assert not torch.equal(tensor, before[name]), name


def test_a_step_of_training_changes_every_map_kept_in_the_descendant():
    model = peg_classifier(ancestry().spec, 3)
    initialize(model, PEG.extract(ancestry()))
    before = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    trained(model, model.parameters())
    changed = {name for name, tensor in model.named_parameters() if not torch.equal(tensor, before[name])}
    # attention is softmax(logits): a bias that all keys share cannot change it
    assert changed >= {name for name in before if not name.endswith("logits.2.bias")}
    assert any("logits.0.weight" in name for name in changed)


def test_saved_and_loaded_it_expands_to_the_same(tmp_path):
    learngene = PEG.extract(ancestry(), seed=5)
    loaded = load(learngene.save(tmp_path / "gene.safetensors"))
    assert loaded.config == learngene.config and loaded.config["seed"] == 5
    for name, tensor in TIMM.state_dict(loaded.expand("h3-l3")).items():
        assert torch.equal(tensor, TIMM.state_dict(learngene.expand("h3-l3"))[name])
    assert torch.equal(loaded.mixtures()["heads"], learngene.mixtures()["heads"])
    assert plot_mixtures(loaded, tmp_path / "mixtures.png").stat().st_size > 1000


# ---------------------------------------------------------------------- redrawing


def test_redraw_mixes_anew_by_epoch_and_keeps_what_is_not_mixed():
    learngene = PEG.extract(ancestry(), redraw=True)
    first = {name: tensor.detach().clone() for name, tensor in learngene.learngene.tensors().items()}
    learngene.draw(1)
    mixed = {name for name, tensor in learngene.learngene.tensors().items() if not torch.equal(tensor, first[name])}
    assert mixed == {"qkv.weight", "qkv.bias", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    assert not any(learngene.learngene.get_parameter(name).requires_grad for name in mixed)
    learngene.draw(0)
    for name, tensor in learngene.learngene.tensors().items():
        assert torch.equal(tensor, first[name])
    with pytest.raises(LearngeneError, match="redraw=True"):
        PEG.extract(ancestry()).draw(1)


class TinyImages(Dataset):
    metainfo = {"classes": list("abcde")}

    def __len__(self):
        return 4

    def __getitem__(self, index):
        from mmpretrain.structures import DataSample

        generator = torch.Generator().manual_seed(index)
        return dict(inputs=torch.randn(3, 16, 16, generator=generator), data_samples=DataSample().set_gt_label(index))


def test_redraw_hook_draws_every_epoch_while_the_maps_train(tmp_path):
    learngene = PEG.extract(ancestry(), redraw=True)
    maps = {name: tensor.detach().clone() for name, tensor in learngene.maps.tensors().items()}
    runner = Runner(
        model=AuxNet(learngene, head=dict(loss=dict(type="mmpretrain.CrossEntropyLoss"))),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=TinyImages(), batch_size=4, sampler=dict(type="DefaultSampler"), collate_fn=pseudo_collate
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        custom_hooks=[dict(type="mmlearngene.RedrawHook")],
        default_scope="mmpretrain",
        experiment_name="redraw",
        cfg=Config(),
    )
    runner.train()
    expected = PEG.extract(ancestry(), redraw=True)
    expected.draw(1)
    assert torch.equal(learngene.learngene.tensors()["fc1.weight"], expected.learngene.tensors()["fc1.weight"])
    assert learngene.provenance["epoch_drawn"] == 1
    for name, tensor in learngene.maps.tensors().items():
        assert not torch.equal(tensor, maps[name]), name


# ---------------------------------------------------------------------- bad input


def test_bad_input_is_told_before_any_work():
    weights = ancestry()
    for options, message in [
        (dict(heads=0), "must be positive"),
        (dict(sampling="gausian"), "Did you mean 'gaussian'"),
        (dict(projection="all"), "projection 'all'"),
    ]:
        with pytest.raises(LearngeneError, match=message):
            PEG.extract(weights, **options)
    learngene = PEG.extract(weights)
    for size, near in (("h5-l4", "h4-l4"), ("h4-l5", "h4-l4")):
        with pytest.raises(LearngeneError, match=near):
            learngene.expand(size)
    with pytest.raises(LearngeneError, match="form 'fold'"):
        learngene.expand(form="fold")
    with pytest.raises(LearngeneError, match="has no place for 'logits.0.weight'"):
        TIMM.state_dict(learngene.expand(form="maps"))
    with pytest.raises(LearngeneError, match="learngene_heads=2 in the model, learngene_heads=3"):
        initialize(peg_classifier(weights.spec, 2), learngene)  # the learngene has 3 heads


# ---------------------------------------------------------------------- a trained ancestry


@pytest.fixture(scope="module")
def digits_ancestry() -> ViTWeights:
    return digits.ancestry()


@pytest.mark.parametrize("size", ["h3-l4", "h4-l3"])
@pytest.mark.parametrize("sampling", ["gaussian", "uniform"])
def test_descendants_of_a_trained_ancestry_beat_scratch_at_equal_budget(digits_ancestry, size, sampling):
    learngene = PEG.extract(digits_ancestry, sampling=sampling)
    spec = learngene.target(size)
    inherited = digits.train(digits.vit(spec, learngene.expand(size)), epochs=1)
    assert inherited > digits.train(digits.vit(spec), epochs=1) + 0.1
