"""Elastic training: which sizes are drawn, what a step makes of them, and whole runs."""

import copy
import itertools
import random
from collections import Counter

import numpy as np
import pytest
import timm
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import MessageHub
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import OptimWrapper
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mmlearngene import LearngeneError, load
from mmlearngene.engine import LearngeneExportHook, SeedHook, SizesValHook
from mmlearngene.engine.hooks import budget
from mmlearngene.engine.hooks.sizes_val import by_size
from mmlearngene.engine.run.device import adapt_to_device
from mmlearngene.frameworks.mmpretrain import classifier_cfg
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.models import AuxNet, DistillLoss, Step
from mmlearngene.models.sizes import build_sizes
from mmlearngene.registry import HOOKS, MODELS

from ..support.distillation import GENES, VIT, aux_net, batch, distiller
from ..support.elastic import Metrics, at_step, extracted, weights_in
from ..support.runners import loader, make_runner, same

UNIFORM = dict(type="UniformSizes", heads=[1, 3], layers=[2, 4])
SANDWICH = dict(type="mmlearngene.SandwichSizes", heads=[1, 3], layers=[2, 4])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def lets():
    return MODELS.build(copy.deepcopy(GENES["lets"]))


def sampler(**cfg):
    return build_sizes(cfg, lets())


def steps(count, seed=0):
    return [Step(seed, iteration, count) for iteration in range(count)]


def names(specs):
    return [str(spec) for spec in specs]


# ---------------------------------------------------------------- samplers


EVERY_KIND = [
    UNIFORM,
    {**UNIFORM, "count": 3},
    SANDWICH,
    dict(type="WeightedSizes", sizes=["h1-l2", "h2-l7", "h3-l4"], weights=[1, 2, 3], count=2),
    dict(type="LargestFirst", sizes=UNIFORM, share=0.3),
]


@pytest.mark.parametrize("cfg", EVERY_KIND, ids=lambda cfg: cfg["type"])
def test_a_draw_follows_from_seed_and_iteration_alone(cfg):
    one, other = sampler(**cfg), sampler(**cfg)
    forwards = [one.draw(step) for step in steps(50)]
    np.random.rand(7), torch.rand(7), random.random()
    assert [other.draw(step) for step in reversed(steps(50))] == forwards[::-1]
    assert [one.draw(step) for step in steps(50, seed=1)] != forwards
    assert len({tuple(draw) for draw in forwards}) > 1
    assert all(set(draw) <= set(one.sizes) and len(set(draw)) == len(draw) for draw in forwards)


def test_uniform_draws_every_size_equally_often():
    found = sampler(**UNIFORM)
    assert sorted(names(found.sizes)) == [f"h{h}-l{layers}" for h in (1, 2, 3) for layers in (2, 3, 4)]
    counts = Counter(found.draw(step)[0] for step in steps(9000))
    assert len(counts) == 9 and all(850 < count < 1150 for count in counts.values())  # five deviations of 30
    assert {len(sampler(**UNIFORM, count=4).draw(step)) for step in steps(20)} == {4}


def test_what_is_left_out_is_the_aux_nets():
    assert names(sampler(type="UniformSizes", layers=[2, 3]).sizes) == ["h3-l2", "h3-l3"]
    assert names(sampler(type="UniformSizes", heads=2, layers=6).sizes) == ["h2-l6"]


def test_sizes_are_in_the_order_of_their_parameters():
    deep, wide = sampler(type="UniformSizes", sizes=["h3-l2", "h1-l8"]).sizes
    assert names([deep, wide]) == ["h1-l8", "h3-l2"] and deep.num_params < wide.num_params


def test_weights_are_honoured():
    found = sampler(type="WeightedSizes", sizes=["h3-l4", "h1-l2", "h2-l3"], weights=[3, 1, 0])
    counts = Counter(str(found.draw(step)[0]) for step in steps(4000))
    assert set(counts) == {"h3-l4", "h1-l2"}
    assert 2860 < counts["h3-l4"] < 3140  # five deviations of 27


def test_a_sandwich_has_the_largest_and_the_smallest():
    found = sampler(**SANDWICH, count=2)
    draws = [names(found.draw(step)) for step in steps(200)]
    assert all(len(draw) == 4 and draw[0] == "h3-l4" and draw[-1] == "h1-l2" for draw in draws)
    assert {size for draw in draws for size in draw[1:-1]} == set(names(found.sizes)) - {"h3-l4", "h1-l2"}
    open_end = sampler(**SANDWICH, count=1, smallest=False)
    draws = [names(open_end.draw(step)) for step in steps(200)]
    assert all(len(draw) == 2 and draw[0] == "h3-l4" for draw in draws)
    assert {draw[1] for draw in draws} == set(names(found.sizes)) - {"h3-l4"}


def test_the_largest_alone_comes_first():
    found, then = sampler(type="LargestFirst", sizes=SANDWICH, share=0.25), sampler(**SANDWICH)
    for step in steps(40):
        expected = ["h3-l4"] if step.iteration < 10 else names(then.draw(step))
        assert names(found.draw(step)) == expected
    assert found.sizes == then.sizes


@pytest.mark.parametrize(
    "cfg, message",
    [
        (dict(type="UniformSizes", heads=[1, 4]), "expands to 1 to 3 heads.*not to h4-l4; the nearest size is h3-l4"),
        (dict(type="SandwichSizes", heads=[0, 3]), r"heads=\[0, 3\]: expected one number, or the least and the most"),
        (dict(type="UniformSizes", layers=[4, 2]), r"layers=\[4, 2\]: expected one number"),
        (dict(type="UniformSizes", heads=[1, 2], sizes=["h1-l2"]), "leave out heads= and layers="),
        (dict(type="UniformSizes", sizes=["h1-l2", "H1_L2"]), "each of them once"),
        (dict(type="UniformSizes", sizes=["h1-12"]), "'h1-12' is not a ViT size"),
        (dict(type="UniformSizes", heads=[1, 3], count=4), "count=4 of 3 sizes.*nearest is 3"),
        (dict(type="SandwichSizes", heads=[1, 3], count=2), "count=2 of 1 sizes.*nearest is 1"),
        (dict(type="WeightedSizes", sizes=["h1-l2", "h2-l2"], weights=[1]), r"weights=\[1\].*each of the 2 sizes"),
        (dict(type="WeightedSizes", sizes=["h1-l2", "h2-l2"], weights=[1, -1]), "0 or more"),
        (dict(type="LargestFirst", sizes=UNIFORM, share=1.5), "share=1.5.*nearest is 1"),
        (dict(type="LargestFirst", sizes=dict(type="UniformSizes", heads=[1, 9]), share=0.5), "not to h4-l4"),
    ],
)
def test_sizes_that_cannot_be_drawn_are_refused_when_the_network_is_built(cfg, message):
    with pytest.raises(LearngeneError, match=message):
        aux_net(sizes=cfg)


def test_a_depth_that_only_the_expansion_refuses_is_refused_then_too():
    with pytest.raises(LearngeneError, match="depth='first' gives at most the ancestry's 6 layers, not 7"):
        AuxNet(extracted("cluster"), sizes=dict(type="UniformSizes", layers=[3, 7]))


def test_without_a_runner_no_size_is_drawn():
    MessageHub.get_instance(f"test-sizes-{random.random()}")
    with pytest.raises(LearngeneError, match="MessageHub has no 'seed'"):
        aux_net(sizes=UNIFORM).train()(*batch(), mode="loss")


def _draw_in_a_process(rank, meeting, results):
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    found = sampler(**UNIFORM)
    at_step(0, seed=7 + rank)  # as randomness=dict(diff_rank_seed=True) has it
    drawn = []
    for iteration in range(10):
        MessageHub.get_current_instance().update_info("iter", iteration)
        drawn.append(names(found.draw(Step.current())))
    results[rank] = drawn
    dist.destroy_process_group()


def test_processes_with_seeds_of_their_own_draw_the_same_sizes(tmp_path):
    results = mp.Manager().dict()
    mp.start_processes(_draw_in_a_process, (tmp_path / "meeting", results), nprocs=2, start_method="fork")
    expected = [names(sampler(**UNIFORM).draw(step)) for step in steps(10, seed=7)]
    assert results[0] == results[1] == expected


# ---------------------------------------------------------------- a step


def test_the_loss_is_the_mean_over_the_sizes_of_the_step():
    model = aux_net(sizes=SANDWICH).train()
    inputs, samples = batch()
    for iteration in range(3):
        step = at_step(iteration)
        expected = []
        for spec in model.sizes.draw(step):
            plain = AuxNet(model.learngene, size=str(spec)).train()
            expected.append(plain(inputs, samples, mode="loss")["loss"])
        assert len(expected) == 3
        assert torch.allclose(model(inputs, samples, mode="loss")["loss"], sum(expected) / 3)
    at_own_size = F.cross_entropy(model.eval()(inputs), torch.tensor([0, 1, 2, 3]))
    assert torch.allclose(model(inputs, samples, mode="loss")["loss"], at_own_size)


def test_a_narrow_size_trains_the_first_rows_of_the_maps():
    model = aux_net(sizes=dict(type="UniformSizes", heads=2, layers=4)).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    at_step(0)
    inputs, samples = batch()
    model(inputs, samples, mode="loss")["loss"].backward()
    new = VIT["head_dim"]  # one head more than the learngene
    for name, rows in (("embed", new), ("qkv", new), ("head", new), ("ffn", 4 * new)):
        gradient = model.learngene.maps.get_parameter(name).grad
        assert gradient[..., :rows, :].abs().sum(-1).gt(0).all(), name
        assert not gradient[..., rows:, :].any(), name


@pytest.mark.parametrize("method", ["cluster", "peg"])
def test_extracted_learngenes_train_over_heads_and_depth(method):
    model = AuxNet(extracted(method), sizes=dict(type="SandwichSizes", heads=[2, 4], layers=[3, 6], count=2)).train()
    at_step(3)
    inputs, samples = batch()
    model(inputs, samples, mode="loss")["loss"].backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert model.learngene.learngene.get_parameter("qkv.weight").grad.abs().sum() > 0
    model.learngene.expand("h3-l5")


@pytest.mark.parametrize("method", ["tleg", "sws"])
def test_methods_that_keep_the_width_train_depths(method):
    model = aux_net(method, sizes=dict(type="UniformSizes", layers=[2, 6], count=5)).train()
    at_step(0)
    inputs, samples = batch()
    model(inputs, samples, mode="loss")["loss"].backward()
    assert names(model.sizes.sizes) == [f"h3-l{n}" for n in range(2, 7)]
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_templates_are_built_once_a_size_without_weights_and_without_random_numbers(monkeypatch):
    model = aux_net(sizes={**UNIFORM, "count": 2}).train()
    built = []
    build = MODELS.build
    monkeypatch.setattr(MODELS, "build", lambda cfg: built.append(cfg) or build(cfg))
    state = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    for spec in model.sizes.sizes * 2:
        template = model._template_of(spec)
        assert all(p.is_meta for p in template.model.parameters()) and template.model.training
    assert len(built) == 8  # of 9, the Aux-Net's own was there
    assert torch.equal(state[0], torch.get_rng_state())
    assert np.array_equal(state[1], np.random.get_state()[1]) and state[2] == random.getstate()
    assert not model.eval()._template_of(model.sizes.sizes[0]).model.training
    assert all(
        name.partition(".")[0] in ("", "learngene", "data_preprocessor", "in_place")
        for name, _ in model.named_modules()
    )


def test_drop_path_may_follow_the_size():
    def last_rate(model, size):
        return model._template_of(model.learngene.target(size)).model.backbone.layers[-1].ffn.dropout_layer.drop_prob

    options = dict(sizes=UNIFORM, backbone=dict(drop_path_rate=0.2))
    model = aux_net(**options, scale_drop_path=True)
    assert last_rate(model, "h3-l4") == pytest.approx(0.2)
    assert last_rate(model, "h1-l2") == pytest.approx(0.2 / 6)
    assert last_rate(model, "h2-l3") == pytest.approx(0.1)
    assert last_rate(aux_net(**options), "h1-l2") == pytest.approx(0.2)
    with pytest.raises(LearngeneError, match="scale_drop_path=True needs sizes=... and backbone"):
        aux_net(sizes=UNIFORM, scale_drop_path=True)
    with pytest.raises(LearngeneError, match="scale_drop_path"):
        aux_net(backbone=dict(drop_path_rate=0.2), scale_drop_path=True)


def test_the_network_may_be_looked_at_in_another_size():
    model = aux_net(sizes=UNIFORM).eval()
    inputs, _ = batch()
    with torch.no_grad():
        own = model(inputs)
        with model.at("h2-l3"):
            assert torch.equal(model(inputs), AuxNet(model.learngene, size="h2-l3").eval()(inputs))
        assert torch.equal(model(inputs), own)
        with pytest.raises(LearngeneError, match="h9-l3"), model.at("h9-l3"):
            pass


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_the_largest_teaches_the_others_in_place(share):
    model = aux_net(sizes=SANDWICH, in_place=dict(share=share, tau=2.0)).train()
    with torch.no_grad():
        model.learngene.maps.embed.add_(torch.randn_like(model.learngene.maps.embed))
    inputs, samples = batch()
    specs = model.sizes.draw(at_step(0))
    logits = [AuxNet(model.learngene, size=str(spec)).train()(inputs) for spec in specs]
    labels = torch.tensor([0, 1, 2, 3])
    own = [F.cross_entropy(x, labels) for x in logits]
    taught = [DistillLoss(tau=2.0)(x, logits[0].detach()) for x in logits[1:]]
    losses = model(inputs, samples, mode="loss")
    assert set(losses) == {"head.loss", "loss_in_place"}
    assert torch.allclose(losses["head.loss"], (own[0] + (1 - share) * sum(own[1:])) / 3, atol=1e-6)
    assert torch.allclose(losses["loss_in_place"], share * sum(taught) / 3, atol=1e-6)
    # the largest learns nothing from the others: its logits are detached in what is expected, too
    expected = own[0] + sum((1 - share) * a + share * b for a, b in zip(own[1:], taught, strict=True))
    gradients, wanted = (
        torch.autograd.grad(total, list(model.parameters())) for total in (sum(losses.values()), expected / 3)
    )
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(gradients, wanted, strict=True))


@pytest.mark.parametrize("then, has_largest", [(SANDWICH, True), (UNIFORM, False)])
def test_the_largest_first_may_teach_if_it_stays(then, has_largest):
    sizes = dict(type="LargestFirst", sizes=then, share=0.5)
    assert sampler(**sizes).has_largest == has_largest
    if has_largest:
        assert aux_net(in_place={}, sizes=sizes).sizes.has_largest
    else:
        with pytest.raises(LearngeneError, match="every step has the largest one, not LargestFirst"):
            aux_net(in_place={}, sizes=sizes)


@pytest.mark.parametrize("training", [True, False])
def test_a_network_that_is_built_later_trains_or_not_as_the_others_do(training):
    model = aux_net(backbone=dict(drop_path_rate=0.9)).train(training)
    with model.at("h3-l3"):
        assert model.template.model.training == training
        inputs, _ = batch(16)
        assert torch.equal(model(inputs), model(inputs)) != training


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(in_place={}, sizes=UNIFORM), "every step has the largest one, not UniformSizes; use SandwichSizes"),
        (dict(in_place={}), "not None"),
        (dict(in_place=dict(share=1.5), sizes=SANDWICH), "share=1.5 must be in 0 to 1, the nearest is 1"),
        (dict(in_place=dict(kind="sofd"), sizes=SANDWICH), "sofd"),
    ],
)
def test_errors_of_in_place(options, message):
    with pytest.raises(LearngeneError, match=message):
        aux_net(**options)


def test_the_teacher_runs_once_a_step(tmp_path):
    model = distiller(tmp_path, alpha=0.75, distill=dict(tau=2.0))
    model.student = aux_net(sizes=SANDWICH)
    model.train()
    specs = model.student.sizes.draw(at_step(0))
    inputs, samples = batch()
    calls = []
    model.teacher.register_forward_hook(lambda *_: calls.append(1))
    losses = model(inputs, samples, mode="loss")
    assert len(specs) == 3 and len(calls) == 1
    target = model.teacher(inputs, model.data_preprocessor)
    logits = [AuxNet(model.student.learngene, size=str(spec)).train()(inputs) for spec in specs]
    distilled = sum(DistillLoss(tau=2.0)(x, target) for x in logits) / 3
    assert torch.allclose(losses["loss_distill"], 0.75 * distilled)
    labels = sum(F.cross_entropy(x, torch.tensor([0, 1, 2, 3])) for x in logits) / 3
    assert torch.allclose(losses["head.loss"], 0.25 * labels)


@pytest.mark.parametrize("alpha", [None, 0.0, 0.25, 1.0])
@pytest.mark.parametrize("in_place", [None, dict(share=0.5), dict(share=1.0)])
def test_what_is_logged_as_the_loss_is_the_sum_of_all_losses(alpha, in_place, tmp_path):
    """Of an Aux-Net alone too (no alpha); FiniteHook looks at this number, so NaN in any part has to show in it."""
    at_step(0)
    model = student = aux_net(sizes=SANDWICH, in_place=in_place, head=dict(cal_acc=True, topk=(1,)))
    if alpha is not None:
        model = distiller(tmp_path, alpha=alpha)
        model.student = student
    inputs, samples = batch()
    losses = model.train()(inputs, samples, mode="loss")
    total, logged = model.parse_losses(losses)
    parts = {name: value for name, value in losses.items() if "loss" in name}
    expected = {"loss_distill"} if alpha is not None else set()
    expected |= {"head.loss" if alpha is not None or in_place else "loss"} if alpha != 1 else set()
    expected |= {"loss_in_place"} if in_place else set()
    assert set(parts) == expected and ("accuracy_top-1" in losses) == (alpha != 1)
    assert torch.equal(logged["loss"], total) and torch.isclose(total, sum(parts.values()))
    for name in parts:
        broken = {**losses, name: torch.tensor(float("nan"))}
        assert model.parse_losses(broken)[1]["loss"].isnan(), name


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_the_logged_loss_of_a_plain_student_is_the_sum_too(alpha, tmp_path):
    model = distiller(tmp_path, alpha=alpha)
    model.student = MODELS.build(classifier_cfg(model.student.spec))
    losses = model.train()(*batch(), mode="loss")
    assert set(losses) == {"loss_distill", *(["head.loss"] if alpha < 1 else [])}
    total, logged = model.parse_losses(losses)
    assert torch.equal(logged["loss"], total) and torch.isclose(total, sum(losses.values()))


def test_accumulated_steps_are_the_mean_of_their_draws():
    inputs, samples = batch()
    model = aux_net(sizes=UNIFORM).train()
    other = copy.deepcopy(model)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.5), accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 2)
    sizes = []
    for iteration in range(2):
        sizes += model.sizes.draw(at_step(iteration, seed=3))
        with wrapper.optim_context(model):
            loss = model(inputs, samples, mode="loss")["loss"]
        wrapper.update_params(loss)
    assert len(set(sizes)) == 2
    total = sum(AuxNet(other.learngene, size=str(s)).train()(inputs, samples, mode="loss")["loss"] for s in sizes) / 2
    gradients = torch.autograd.grad(total, list(other.parameters()))
    for (name, new), old, gradient in zip(model.named_parameters(), other.parameters(), gradients, strict=True):
        assert torch.allclose(new, old - 0.5 * gradient, atol=1e-6), name


def test_autocast_rounds_every_size_once():
    model = aux_net(sizes=SANDWICH).train()
    inputs, samples = batch()
    specs = model.sizes.draw(at_step(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(inputs, samples, mode="loss")["loss"]
        sizes = [AuxNet(model.learngene, size=str(spec)).train() for spec in specs]
        expected = sum(x(inputs, samples, mode="loss")["loss"] for x in sizes) / 3
    assert torch.allclose(loss, expected, rtol=1e-6)
    loss.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


def test_the_averaged_copy_is_elastic_too():
    model = aux_net(sizes=SANDWICH).train()
    average = ExponentialMovingAverage(model, momentum=0.5)
    inputs, samples = batch()
    at_step(0)
    model(inputs, samples, mode="loss")["loss"].backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(parameter.grad)
        average.update_parameters(model)
        average.update_parameters(model)
        for size in ("h3-l4", "h1-l2"):
            with model.eval().at(size), average.module.eval().at(size):
                assert torch.equal(model(inputs), average.module(inputs))
    assert set(average.module.state_dict()) == set(model.state_dict())


def test_a_narrow_size_computes_no_row_that_it_drops():
    def flops(learngene, size):
        with FlopCounterMode(display=False) as counter:
            learngene.expand(size)
        return counter.get_total_flops()

    fields = dict(learngene="h2-l4", groups=2, rows=2, repeats=2, **VIT)
    wide = LeTs(aux="h6-l8", **fields)
    for heads in (3, 4, 6):
        assert flops(wide, f"h{heads}-l8") == flops(LeTs(aux=f"h{heads}-l8", **fields), f"h{heads}-l8") > 0
    assert flops(wide, "h3-l8") < 0.5 * flops(wide, "h6-l8")
    two_rows = LeTs(aux="h6-l2", **{**fields, "rows": 1, "repeats": 1})
    assert flops(wide, "h6-l2") == flops(two_rows, "h6-l2") < flops(wide, "h6-l8")


# ---------------------------------------------------------------- runs


def elastic(**options):
    gene = dict(type="mmlearngene.LeTs", learngene="h1-l4", aux="h3-l8", groups=2, head_dim=4, img_size=8)
    return dict(
        type="mmlearngene.AuxNet",
        learngene=dict(**gene, patch_size=4, num_classes=3),
        **{"sizes": dict(type="mmlearngene.UniformSizes", heads=[1, 3], layers=[4, 8]), **options},
    )


class Drawn(Hook):
    """Keeps the sizes of every step of a run."""

    def __init__(self):
        self.sizes = {}

    def before_train(self, runner):
        draw = runner.model.sizes.draw
        runner.model.sizes.draw = lambda step: self.sizes.setdefault(runner.iter, draw(step))


@pytest.mark.parametrize("by_epoch", [True, False])
def test_a_resumed_run_draws_what_an_uninterrupted_one_does(tmp_path, by_epoch):
    """An epoch has two iterations, so the checkpoint of iteration 3 is in the middle of one."""
    options = dict(
        train_cfg=dict(by_epoch=by_epoch, **(dict(max_epochs=3) if by_epoch else dict(max_iters=6))),
        default_hooks=dict(
            checkpoint=dict(type="CheckpointHook", interval=1, by_epoch=by_epoch, save_optimizer=True),
        ),
    )
    sandwich = elastic(sizes=dict(type="LargestFirst", share=0.4, sizes=dict(type="SandwichSizes", layers=[4, 8])))
    whole, resumed = Drawn(), Drawn()
    make_runner(sandwich, tmp_path / "whole", [SeedHook(), whole], **options).train()
    first = "epoch_1" if by_epoch else "iter_3"
    torch.rand(3), np.random.rand(3)  # whatever happened in between
    again = {**options, "load_from": str(tmp_path / "whole" / f"{first}.pth"), "resume": True}
    make_runner(sandwich, tmp_path / "cut", [SeedHook(), resumed], **again).train()
    begin = 2 if by_epoch else 3
    assert list(whole.sizes) == list(range(6)) and list(resumed.sizes) == list(range(begin, 6))
    assert resumed.sizes == {i: whole.sizes[i] for i in range(begin, 6)}
    assert [len(sizes) for sizes in whole.sizes.values()] == [1, 1, 1, 3, 3, 3]
    last = "epoch_3" if by_epoch else "iter_6"
    assert same(*(weights_in(tmp_path / run / f"{last}.pth") for run in ("whole", "cut")))


def test_another_seed_draws_other_sizes(tmp_path):
    found = []
    for seed in (0, 1):
        drawn = Drawn()
        make_runner(elastic(), tmp_path / str(seed), [drawn], epochs=4, randomness=dict(seed=seed)).train()
        found.append(drawn.sizes)
    assert found[0].keys() == found[1].keys() and found[0] != found[1]


def test_a_run_for_mixed_precision_trains_in_float32_without_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    results = []
    for kind in ("AmpOptimWrapper", "OptimWrapper"):
        torch.manual_seed(0)
        cfg = Config(dict(optim_wrapper=dict(type=kind, optimizer=dict(type="SGD", lr=0.1))))
        wrapper = adapt_to_device(cfg).optim_wrapper
        runner = make_runner(elastic(), tmp_path / kind, [SeedHook()], optim_wrapper=wrapper)
        runner.train()
        results.append(runner.model.state_dict())
    assert same(*results)


def test_a_file_says_which_sizes_were_trained(tmp_path):
    cfg = elastic(sizes=dict(type="UniformSizes", sizes=["h3-l8", "h1-l5"]))
    make_runner(cfg, tmp_path, [LearngeneExportHook()], epochs=1).train()
    assert load(tmp_path / "epoch_1.learngene.safetensors").provenance["trained_sizes"] == ["h1-l5", "h3-l8"]
    make_runner(elastic(sizes=None), tmp_path / "one", [LearngeneExportHook()], epochs=1).train()
    assert "trained_sizes" not in load(tmp_path / "one" / "epoch_1.learngene.safetensors").provenance


def test_a_distillers_file_says_so_too(tmp_path):
    model = distiller(tmp_path)
    assert set(model.provenance) == {"teacher"}
    student = {"type": "mmlearngene.AuxNet", "learngene": copy.deepcopy(GENES["lets"]), "sizes": UNIFORM}
    teacher = dict(type="mmlearngene.TimmTeacher", model_name="test_vit", pretrained=False)
    torch.save(timm.create_model("test_vit", num_classes=5).state_dict(), tmp_path / "t.pth")
    teacher |= dict(checkpoint=str(tmp_path / "t.pth"), num_classes=5)
    found = MODELS.build(dict(type="mmlearngene.LearngeneDistiller", student=student, teacher=teacher)).provenance
    assert len(found["trained_sizes"]) == 9 and found["teacher"]["model_name"] == "test_vit"


# ---------------------------------------------------------------- validation at several sizes


SIZES = ["h1-l4", "h2-l6", "h3-l8"]


class Confidence(BaseMetric):
    """Mean probability of the true class, which tells any two networks apart."""

    def process(self, data_batch, data_samples):
        self.results += [float(sample["pred_score"][sample["gt_label"]]) for sample in data_samples]

    def compute_metrics(self, results):
        return dict(confidence=sum(results) / len(results))


def measured(learngene, dataset):
    """The confidence at each size, by plain networks."""
    images = [dataset[i] for i in range(8)]
    inputs = torch.stack([image["inputs"] for image in images])
    labels = torch.stack([image["data_samples"].gt_label for image in images])
    with torch.no_grad():
        logits = {size: AuxNet(learngene, size=size).eval()(inputs) for size in SIZES}
    return {size: float(x.softmax(1).gather(1, labels).mean()) for size, x in logits.items()}


@pytest.mark.parametrize("averaging", [False, True])
def test_every_size_is_validated_and_the_best_is_kept_by_the_worst(tmp_path, averaging):
    metrics = Metrics()
    hooks = [*([EMAHook(momentum=0.1)] if averaging else []), SizesValHook(SIZES), metrics, LearngeneExportHook()]
    runner = make_runner(
        elastic(),
        tmp_path,
        hooks,
        epochs=4,
        lr=0.5,
        val=True,
        checkpoint=dict(save_best="worst/confidence", rule="greater"),
        val_evaluator=Evaluator(Confidence()),
    )
    runner.train()
    assert len(metrics.found) == 4
    gene = copy.deepcopy(runner.model.learngene)
    for found, weights in zip(metrics.found, metrics.weights, strict=True):
        gene.load_state_dict(weights)
        expected = measured(gene, runner.val_dataloader.dataset)
        assert by_size(found, "confidence") == pytest.approx(expected)
        assert found["mean/confidence"] == pytest.approx(sum(expected.values()) / 3)
        assert found["worst/confidence"] == pytest.approx(min(expected.values()))
        assert found["confidence"] == pytest.approx(expected["h3-l8"])  # the Aux-Net's own, as without the hook
    assert len({tuple(found.values()) for found in metrics.found}) == 4
    worst = [found["worst/confidence"] for found in metrics.found]
    best = tmp_path / f"best_worst_confidence_epoch_{worst.index(max(worst)) + 1}.learngene.safetensors"
    assert list(tmp_path.glob("best_*.safetensors")) == [best]
    logged = next(tmp_path.glob("*/vis_data/scalars.json")).read_text()
    assert all(f'"{size}/confidence"' in logged for size in [*SIZES, "mean", "worst"])
    assert str(runner.model.spec) == "h3-l8"


def test_a_test_looks_at_every_size_too(tmp_path):
    make_runner(elastic(), tmp_path / "run", epochs=1).train()
    metrics = Metrics()
    runner = make_runner(
        elastic(),
        tmp_path / "test",
        [SizesValHook(SIZES), metrics],
        load_from=str(tmp_path / "run" / "epoch_1.pth"),
        test_dataloader=loader(),
        test_cfg={},
        test_evaluator=Evaluator(Confidence()),
    )
    runner.test()
    expected = measured(runner.model.learngene, runner.test_dataloader.dataset)
    assert by_size(metrics.found[0], "confidence") == pytest.approx(expected)


@pytest.mark.parametrize(
    "options, model, message",
    [
        (dict(sizes=["h4-l4"]), elastic(), "h4-l4; the nearest size is h3-l4"),
        ({}, elastic(sizes=None), "the AuxNet trains one size; expected sizes="),
        (
            {},
            dict(type="ImageClassifier", backbone=dict(type="LeNet5", num_classes=3), head=dict(type="ClsHead")),
            "ImageClassifier holds no AuxNet",
        ),
    ],
)
def test_what_cannot_be_validated_is_told_before_training(tmp_path, options, model, message):
    hook = HOOKS.build(dict(type="mmlearngene.SizesValHook", **options))
    steps = Drawn()
    runner = make_runner(model, tmp_path, [hook], val=True)
    with pytest.raises(LearngeneError, match=message):
        runner.train()
    assert not steps.sizes and not list(tmp_path.glob("*.pth"))


def test_sizes_do_not_stop_a_run_that_evaluates_nothing(tmp_path):
    """As with --no-validate of a config whose base names sizes of another learngene."""
    hook = HOOKS.build(dict(type="mmlearngene.SizesValHook", sizes=["h4-l4"]))
    test = dict(test_dataloader=loader(), test_cfg={}, test_evaluator=Evaluator(Confidence()))
    make_runner(elastic(), tmp_path, [hook], epochs=1, **test).train()


@pytest.mark.parametrize("advised, seconds, after", [(None, 6, 15), (20, 6, 15), (10_000, 6, 15), (None, 120, 2)])
def test_a_training_says_what_it_will_cost_before_it_is_spent(advised, seconds, after, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(budget, "print_log", lambda text, **kwargs: said.append(text))
    ticks = itertools.count(step=seconds)  # for every step
    monkeypatch.setattr(budget.time, "monotonic", lambda: next(ticks))
    runner = make_runner(elastic(), tmp_path, [budget.BudgetHook(advised)], epochs=10)
    images, batch = len(runner.train_dataloader.dataset), runner.train_dataloader.batch_size
    runner.train()
    total = 10 * len(runner.train_dataloader)
    passes = f"({total * batch / images:.3g} passes over {images})"
    assert said[0] == f"this training sees {total * batch:,} images in {total} steps {passes}"
    assert ["fewer than 10,000 images" in text for text in said[1:2]] == [advised == 10_000]
    left = total - after
    assert said[-1].startswith(f"about {left * seconds / 60:.2g} minutes for the {left} steps left")


def test_trainings_of_other_models_have_no_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "print_log", lambda *args, **kwargs: pytest.fail("said something"))
    model = dict(type="ImageClassifier", backbone=dict(type="LeNet5", num_classes=3), head=dict(type="ClsHead"))
    hook, runner = budget.BudgetHook(), make_runner(model, tmp_path)
    hook.before_train(runner)
    hook.after_train_iter(runner, 0)


def test_the_worst_of_a_loss_is_the_greatest(tmp_path):
    assert SizesValHook(SIZES, rule="less").worst([1, 3, 2]) == 3
    with pytest.raises(LearngeneError, match="rule 'larger'"):
        SizesValHook(SIZES, rule="larger")


def test_all_that_is_trained_is_validated_unless_named(tmp_path):
    metrics = Metrics()
    cfg = elastic(sizes=dict(type="UniformSizes", sizes=SIZES[:2]))
    make_runner(cfg, tmp_path, [SizesValHook(), metrics], epochs=1, val=True).train()
    assert list(by_size(metrics.found[0], "accuracy/top1")) == SIZES[:2]
