"""mmengine parts, in real runs of a Runner on tiny data in memory."""

import random

import numpy as np
import pytest
import torch

pytest.importorskip("mmpretrain")

from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS
from timm.models.vision_transformer import VisionTransformer

import mmlearngene.engine
import mmlearngene.models  # noqa: F401
from mmlearngene import LearngeneError, ViTSpec, ViTWeights, extract, load
from mmlearngene.engine import InitialValHook, LearngeneExportHook, LearngeneInitHook, SeedHook
from mmlearngene.engine.hooks.runner import resumes
from mmlearngene.engine.run.device import adapt_to_device
from mmlearngene.frameworks.mmpretrain import VIT as MMPRETRAIN
from mmlearngene.frameworks.mmpretrain import backbone_cfg, classifier_cfg
from mmlearngene.frameworks.timm import VIT as TIMM
from mmlearngene.frameworks.timm import model_kwargs
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.learngenes.sws import SWS
from mmlearngene.learngenes.tleg import TLEG

from ..support.parity import BLOCK_TENSORS
from ..support.runners import (
    LETS,
    TINY,
    Scores,
    aux_net,
    differing,
    files_in,
    learngene_in,
    loader,
    make_runner,
    same,
)


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(0)
    gene = LeTs(**LETS)
    with torch.no_grad():
        for parameter in gene.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return str(gene.save(tmp_path / "gene.safetensors"))


class Probe(Hook):
    """Keeps the weights that training starts from, and those of the EMA copy."""

    priority = "LOWEST"

    def before_train(self, runner):
        self.weights = copy_of(runner.model.state_dict())
        averaged = [hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)]
        self.averaged = copy_of(averaged[0].module.state_dict()) if averaged else None


def copy_of(state):
    return {name: tensor.clone() for name, tensor in state.items()}


def expanded(path, size="h2-l5"):
    return MMPRETRAIN.state_dict(load(path).expand(size))


# ---------------------------------------------------------------- init_cfg


def test_init_cfg_of_a_backbone_survives_init_weights(path):
    spec = load(path).target("h2-l5")
    backbone = MODELS.build(backbone_cfg(spec, init_cfg=dict(type="Learngene", checkpoint=path)))
    backbone.init_weights()
    found = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    assert same(found, {name: tensor for name, tensor in expanded(path).items() if name.startswith("backbone.")})


@pytest.mark.parametrize("place", ["backbone", "classifier"])
@pytest.mark.parametrize("through_runner", [False, True])
def test_init_cfg_in_a_classifier_survives_init_weights(path, tmp_path, place, through_runner):
    init_cfg = dict(type="Learngene", checkpoint=path, rows=[0, 1, 2, 3, 3])
    spec = load(path).target("h2-l5")
    if place == "backbone":
        cfg = classifier_cfg(spec, backbone=dict(init_cfg=init_cfg))
    else:
        cfg = classifier_cfg(spec, init_cfg=init_cfg)
    if through_runner:
        probe = Probe()
        make_runner(cfg, tmp_path / "run", [probe], epochs=1).train()
        found = probe.weights
    else:
        model = MODELS.build(cfg)
        model.init_weights()
        found = model.state_dict()
    expected = MMPRETRAIN.state_dict(load(path).expand(spec, rows=[0, 1, 2, 3, 3]))
    if place == "backbone":  # it has no head of its own to give
        for name in [name for name in expected if name.startswith("head.")]:
            assert not torch.equal(found[name], expected.pop(name))
            found = {key: tensor for key, tensor in found.items() if key != name}
    assert same(found, expected)


def test_init_cfg_gives_what_is_not_inherited_its_own_start_values(path):
    spec = load(path).target("h3-l5").replace(num_classes=500, img_size=16)
    cfg = classifier_cfg(spec, init_cfg=dict(type="Learngene", checkpoint=path))
    model = MODELS.build(cfg)
    model.init_weights()
    assert 0.009 < model.head.fc.weight.std() < 0.011  # LinearClsHead's own init_cfg, Normal of 0.01
    assert torch.equal(model.backbone.pos_embed, load(path).expand(spec).tensors["pos_embed"][None])


def test_init_cfg_draws_positions_that_are_not_inherited(tmp_path):
    spec = ViTSpec.parse("h4-l2", head_dim=8, img_size=32, patch_size=4, num_classes=3)
    weights = ViTWeights(spec, {name: torch.randn(shape) for name, shape in spec.shapes().items()})
    file = extract("scratch", weights).save(tmp_path / "scratch.safetensors")
    backbone = MODELS.build(backbone_cfg(spec, init_cfg=dict(type="Learngene", checkpoint=str(file))))
    backbone.pos_embed.data.fill_(7)
    backbone.init_weights()
    assert 0.015 < backbone.pos_embed.std() < 0.025 and backbone.pos_embed.abs().max() < 1


def test_init_cfg_fails_loudly(path, tmp_path):
    spec = load(path).target("h2-l5")
    model = MODELS.build(backbone_cfg(spec, init_cfg=dict(type="Learngene", checkpoint=str(tmp_path / "gene.safe"))))
    with pytest.raises(LearngeneError, match="did you mean .*gene.safetensors"):
        model.init_weights()
    model = MODELS.build(backbone_cfg(spec, init_cfg=dict(type="Learngene", checkpoint=path, min_inherited=1.01)))
    with pytest.raises(LearngeneError, match="less than min_inherited"):
        model.init_weights()


# ---------------------------------------------------------------- InitialValHook


@pytest.mark.parametrize("averaging", [False, True])
def test_the_first_validation_sees_the_untuned_descendant(path, tmp_path, averaging):
    class Seen(Hook):
        priority = "LOWEST"  # after EMAHook has put its weights into the model

        def __init__(self):
            self.weights = []

        def before_val_epoch(self, runner):
            self.weights.append(copy_of(runner.model.state_dict()))

    seen = Seen()
    cfg = classifier_cfg(load(path).target("h2-l5"), init_cfg=dict(type="Learngene", checkpoint=path))
    hooks = [*([EMAHook()] if averaging else []), InitialValHook(), seen]
    make_runner(cfg, tmp_path / "run", hooks, epochs=1, val=True).train()
    assert len(seen.weights) == 2  # before and after the only epoch
    assert same(seen.weights[0], expanded(path))
    assert not same(seen.weights[1], expanded(path))


def test_a_resumed_run_is_not_validated_as_untuned(path, tmp_path):
    class Validations(Hook):
        def __init__(self):
            self.at = []

        def before_val_epoch(self, runner):
            self.at.append(runner.iter)

    cfg = classifier_cfg(load(path).target("h2-l5"), init_cfg=dict(type="Learngene", checkpoint=path))
    first, resumed = Validations(), Validations()
    make_runner(cfg, tmp_path / "run", [InitialValHook(), first], epochs=1, val=True).train()
    make_runner(cfg, tmp_path / "run", [InitialValHook(), resumed], epochs=2, val=True, resume=True).train()
    assert first.at == [0, 2] and resumed.at == [4]


# ---------------------------------------------------------------- LearngeneInitHook


def test_a_run_resumes_from_a_checkpoint_or_from_its_work_dir(tmp_path):
    assert not resumes(False, "a.pth", str(tmp_path)) and not resumes(True, None, str(tmp_path))
    assert resumes(True, "a.pth", str(tmp_path))
    (tmp_path / "last_checkpoint").write_text("epoch_1.pth")
    assert resumes(True, None, str(tmp_path)) and not resumes(False, None, str(tmp_path))


def test_resuming_from_a_named_checkpoint_leaves_its_weights_alone(path, tmp_path):
    cfg = classifier_cfg(load(path).target("h2-l5"))
    make_runner(cfg, tmp_path / "run", [LearngeneInitHook(path)], epochs=1).train()
    checkpoint = str(tmp_path / "run" / "epoch_1.pth")
    # in a new folder, and the learngene is gone
    runner = make_runner(
        cfg, tmp_path / "new", [LearngeneInitHook("gone.safetensors")], load_from=checkpoint, resume=True
    )
    runner.train()
    assert runner.epoch == 2


def test_hook_initialises_before_training_and_before_the_ema_copy(path, tmp_path):
    probe = Probe()
    hooks = [EMAHook(), LearngeneInitHook(path, rows=[0, 1, 2, 3, 3]), probe]
    make_runner(classifier_cfg(load(path).target("h2-l5")), tmp_path / "run", hooks, epochs=1).train()
    expected = MMPRETRAIN.state_dict(load(path).expand("h2-l5", rows=[0, 1, 2, 3, 3]))
    assert not differing(probe.weights, expected)
    assert same(probe.averaged, expected)


def test_resuming_does_not_initialise_again_and_load_from_overrides(path, tmp_path):
    cfg = classifier_cfg(load(path).target("h2-l5"))
    make_runner(cfg, tmp_path / "run", [LearngeneInitHook(path)], epochs=1).train()
    saved = torch.load(tmp_path / "run" / "epoch_1.pth", weights_only=False)["state_dict"]
    assert not same(saved, expanded(path))

    resumed, loaded = Probe(), Probe()
    make_runner(cfg, tmp_path / "run", [LearngeneInitHook(path), resumed], resume=True).train()
    assert same(resumed.weights, saved)
    # a run that resumes does not even open the learngene file: it may be gone
    make_runner(cfg, tmp_path / "run", [LearngeneInitHook("gone.safetensors")], epochs=3, resume=True).train()

    checkpoint = str(tmp_path / "run" / "epoch_1.pth")
    make_runner(cfg, tmp_path / "other", [LearngeneInitHook(path), loaded], epochs=1, load_from=checkpoint).train()
    assert same(loaded.weights, saved)


def test_resume_without_a_checkpoint_starts_from_the_learngene(path, tmp_path):
    probe = Probe()
    cfg = classifier_cfg(load(path).target("h2-l5"))
    make_runner(cfg, tmp_path / "new", [LearngeneInitHook(path), probe], epochs=1, resume=True).train()
    assert not differing(probe.weights, expanded(path))


def test_the_hook_gives_what_is_not_inherited_its_own_start_values(path, tmp_path):
    probe = Probe()
    cfg = classifier_cfg(load(path).target("h3-l5").replace(num_classes=500))
    make_runner(cfg, tmp_path / "run", [LearngeneInitHook(path), probe], epochs=1).train()
    assert 0.009 < probe.weights["head.fc.weight"].std() < 0.011  # LinearClsHead's own init_cfg, Normal of 0.01
    assert not differing(
        {name: tensor for name, tensor in probe.weights.items() if name.startswith("backbone.")},
        expanded(path, "h3-l5"),
    )


@pytest.mark.parametrize("checkpoint", [False, True])
def test_testing_needs_the_learngene_only_without_a_checkpoint(path, tmp_path, checkpoint):
    cfg = classifier_cfg(load(path).target("h2-l5"))
    state = copy_of(MODELS.build(cfg).state_dict())
    torch.save(dict(state_dict=state, meta={}), tmp_path / "trained.pth")
    runner = make_runner(
        cfg,
        tmp_path / "test",
        [LearngeneInitHook("gone.safetensors" if checkpoint else path)],
        load_from=str(tmp_path / "trained.pth") if checkpoint else None,
        test_dataloader=loader(),
        test_cfg={},
        test_evaluator=dict(type="mmpretrain.Accuracy", topk=(1,)),
    )
    runner.test()
    assert not differing(runner.model.state_dict(), state if checkpoint else expanded(path))


# ---------------------------------------------------------------- optimizer constructor


class Holder(torch.nn.Module):
    def __init__(self, learngene):
        super().__init__()
        self.learngene = learngene
        self.extra = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))


def weight_decays(model, **paramwise):
    wrapper = build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05),
            constructor="mmlearngene.LearngeneOptimWrapperConstructor",
            paramwise_cfg=paramwise or None,
        ),
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = wrapper.optimizer.param_groups
    return {names[id(p)]: (group["weight_decay"], group["lr"]) for group in groups for p in group["params"]}


@pytest.mark.parametrize(
    "make",
    [
        lambda **vit: LeTs(**LETS, **vit),
        lambda **vit: TLEG(aux="h2-l4", **TINY, **vit),
        lambda **vit: SWS(aux="h2-l4", stages=(2, 2), **TINY, **vit),
    ],
)
@pytest.mark.parametrize("bare", [False, True])
def test_weight_decay_is_that_of_the_unstacked_network(make, bare):
    gene = make(class_token=True, pool="cls")
    spec = gene.aux_spec
    vit = VisionTransformer(**model_kwargs(spec))
    spared = vit.no_weight_decay()
    plain = {name: 0 if p.ndim == 1 or name in spared else 0.05 for name, p in vit.named_parameters()}
    decays = weight_decays(gene if bare else Holder(gene))
    prefix = "" if bare else "learngene."
    for canonical in spec.shapes():
        own = "pos_embed" if canonical == "pos_embed" and isinstance(gene, LeTs) else f"learngene.{canonical}"
        name = TIMM.places(canonical, spec, 0 if canonical in BLOCK_TENSORS else None)[0][0]
        assert decays[prefix + own][0] == plain[name], canonical
    for name, (decay, _) in decays.items():
        if ".maps." in f".{name}":
            assert decay == (0 if ".depth." in name else 0.05), name


def test_weight_decay_of_everything_else_follows_paramwise_cfg():
    model = Holder(LeTs(**LETS))
    decays = weight_decays(model, norm_decay_mult=0.0, custom_keys={"extra.0": dict(lr_mult=0.1)})
    assert decays["extra.0.weight"] == (0.05, pytest.approx(1e-4))
    assert decays["extra.1.weight"][0] == 0
    assert decays["learngene.maps.embed"] == (0.05, 1e-3)
    assert decays["learngene.learngene.norm1.weight"][0] == 0
    assert weight_decays(model)["extra.1.weight"][0] == 0.05


def test_a_users_keys_go_before_the_exemptions():
    decays = weight_decays(
        Holder(LeTs(**LETS)), custom_keys={"learngene.learngene.norm1.weight": dict(decay_mult=0.5, lr_mult=0.1)}
    )
    assert decays["learngene.learngene.norm1.weight"] == (0.025, pytest.approx(1e-4))
    assert decays["learngene.learngene.norm1.bias"] == (0, 1e-3)


# ---------------------------------------------------------------- a machine without a GPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_mixed_precision_becomes_float32_without_a_gpu(path, tmp_path):
    wrapper = dict(type="AmpOptimWrapper", loss_scale="dynamic", dtype="float16", optimizer=dict(type="SGD", lr=0.1))
    cfg = adapt_to_device(Config(dict(optim_wrapper=wrapper)))
    assert cfg.optim_wrapper.to_dict() == dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1))
    model = classifier_cfg(load(path).target("h2-l5"))
    make_runner(model, tmp_path, epochs=1, optim_wrapper=cfg.optim_wrapper).train()


# ---------------------------------------------------------------- LearngeneExportHook


def test_a_learngene_beside_each_checkpoint(tmp_path):
    hook = LearngeneExportHook(provenance=dict(dataset="noise"))
    runner = make_runner(aux_net(), tmp_path, [hook], epochs=2)
    runner.train()
    expected = {f"epoch_{n}{suffix}" for n in (1, 2) for suffix in (".pth", ".learngene.safetensors")}
    assert files_in(tmp_path) == expected
    genes = [load(tmp_path / f"epoch_{n}.learngene.safetensors") for n in (1, 2)]
    for n, gene in enumerate(genes, start=1):
        assert same(gene.state_dict(), learngene_in(tmp_path / f"epoch_{n}.pth"))
        assert gene.provenance.items() >= dict(dataset="noise", epochs=n, iterations=2 * n).items()
        assert list(gene.classes) == ["one", "two", "three"]
    assert not same(genes[0].state_dict(), genes[1].state_dict())
    assert same(runner.model.learngene.state_dict(), genes[1].state_dict())


def test_export_follows_iterations_too(tmp_path):
    hooks = dict(checkpoint=dict(type="CheckpointHook", interval=2, by_epoch=False))
    train_cfg = dict(by_epoch=False, max_iters=4)
    make_runner(aux_net(), tmp_path, [LearngeneExportHook()], default_hooks=hooks, train_cfg=train_cfg).train()
    assert files_in(tmp_path) == {f"iter_{n}{s}" for n in (2, 4) for s in (".pth", ".learngene.safetensors")}
    for n in (2, 4):
        gene = load(tmp_path / f"iter_{n}.learngene.safetensors")
        assert same(gene.state_dict(), learngene_in(tmp_path / f"iter_{n}.pth"))


def test_export_of_the_best_and_removal_with_the_checkpoint(tmp_path):
    options = dict(max_keep_ckpts=1, save_best="accuracy/top1", rule="less")  # a falling accuracy gives several bests
    make_runner(aux_net(), tmp_path, [LearngeneExportHook()], epochs=4, val=True, checkpoint=options).train()
    found = files_in(tmp_path)
    (best,) = [name for name in found if name.startswith("best_") and name.endswith(".pth")]
    names = ("epoch_4", best.removesuffix(".pth"))
    assert found == {f"{name}{suffix}" for name in names for suffix in (".pth", ".learngene.safetensors")}
    for name in names:
        gene = load(tmp_path / f"{name}.learngene.safetensors")
        assert same(gene.state_dict(), learngene_in(tmp_path / f"{name}.pth"))


def test_a_resumed_run_leaves_the_best_alone_and_removes_the_old(tmp_path):
    options = dict(max_keep_ckpts=1, save_best="score", rule="greater")
    for epochs, scores in ((1, [5]), (2, [4]), (3, [6])):
        make_runner(
            aux_net(),
            tmp_path,
            [LearngeneExportHook()],
            epochs,
            checkpoint=options,
            resume=epochs > 1,
            val_dataloader=loader(),
            val_cfg={},
            val_evaluator=Evaluator(Scores(*scores)),
        ).train()
        names = (f"epoch_{epochs}", "best_score_epoch_1" if epochs < 3 else "best_score_epoch_3")
        assert files_in(tmp_path) == {f"{name}{s}" for name in names for s in (".pth", ".learngene.safetensors")}
        for name in names:
            gene = load(tmp_path / f"{name}.learngene.safetensors")
            assert same(gene.state_dict(), learngene_in(tmp_path / f"{name}.pth"))
            assert gene.provenance["epochs"] == int(name[-1])
            assert gene.provenance["iterations"] == 2 * int(name[-1])


def test_a_resumed_run_removes_what_it_had_written_before_it_was_cut(tmp_path):
    for epochs in (2, 3):
        options = dict(max_keep_ckpts=2)
        make_runner(aux_net(), tmp_path, [LearngeneExportHook()], epochs, checkpoint=options, resume=epochs > 2).train()
    assert files_in(tmp_path) == {f"epoch_{n}{end}" for n in (2, 3) for end in (".pth", ".learngene.safetensors")}


@pytest.mark.parametrize("ema_first", [True, False])
def test_the_averaged_weights_are_exported(tmp_path, ema_first):
    hooks = [EMAHook(momentum=0.5), LearngeneExportHook()]
    runner = make_runner(aux_net(), tmp_path, hooks if ema_first else hooks[::-1], epochs=2, val=True)
    runner.train()
    averaged = next(hook for hook in runner.hooks if isinstance(hook, EMAHook)).ema_model.module.learngene.state_dict()
    gene = load(tmp_path / "epoch_2.learngene.safetensors").state_dict()
    assert same(gene, averaged)
    assert same(gene, learngene_in(tmp_path / "epoch_2.pth"))
    assert not same(gene, runner.model.learngene.state_dict())


def test_export_without_a_learngene_is_told_before_training(path, tmp_path):
    runner = make_runner(classifier_cfg(load(path).target("h2-l5")), tmp_path, [LearngeneExportHook()])
    with pytest.raises(TypeError, match="ImageClassifier holds no learngene to export"):
        runner.train()
    assert files_in(tmp_path) == {"gene.safetensors"}


# ---------------------------------------------------------------- SeedHook


class Draws(Hook):
    """Random numbers of every kind, drawn in the first step of each epoch, and the images' order."""

    def __init__(self):
        self.drawn = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 0:
            labels = [int(sample.gt_label) for sample in data_batch["data_samples"]]
            self.drawn[runner.epoch] = (torch.rand(1).item(), np.random.rand(), random.random(), labels)


def test_epochs_draw_the_same_numbers_after_resuming(path, tmp_path):
    cfg = classifier_cfg(load(path).target("h2-l5"), backbone=dict(drop_path_rate=0.5))
    whole, resumed = Draws(), Draws()
    make_runner(cfg, tmp_path / "whole", [SeedHook(), whole], epochs=3).train()
    make_runner(cfg, tmp_path / "cut", [SeedHook(), Draws()], epochs=1).train()
    torch.rand(3), np.random.rand(3)  # whatever happened in between
    make_runner(cfg, tmp_path / "cut", [SeedHook(), resumed], epochs=3, resume=True).train()
    assert set(whole.drawn) == {0, 1, 2} and set(resumed.drawn) == {1, 2}
    assert resumed.drawn == {epoch: whole.drawn[epoch] for epoch in (1, 2)}
    for kind in range(3):
        assert len({numbers[kind] for numbers in whole.drawn.values()}) == 3
    one, other = (torch.load(tmp_path / run / "epoch_3.pth", weights_only=False) for run in ("whole", "cut"))
    assert same(one["state_dict"], other["state_dict"])
