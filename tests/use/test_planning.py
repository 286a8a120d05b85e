"""Sizes that fit a budget: what is listed expands, and costs what the built model costs."""

import json
import shlex
import shutil
import time

import pytest
import torch

from mmlearngene import ViTSpec, ViTWeights, build, extract
from mmlearngene.errors import LearngeneError
from mmlearngene.learngenes.extracted import extraction_methods
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.use.latency import checked_device, measured
from mmlearngene.use.planning import Cost, plan, storage, within
from mmlearngene.vit.tensors import start_values

from ..support.command import fails, run

TINY = dict(head_dim=4, img_size=8, patch_size=4, num_classes=3)
OPTIONS = {"cluster": dict(eps=0), "principal": dict(data="noise", num_images=8)}


@pytest.fixture
def gene():
    torch.manual_seed(0)
    return LeTs("h1-l4", "h3-l8", groups=2, **TINY)


@pytest.fixture
def file(gene, tmp_path):
    gene.provenance = {"trained_sizes": ["h2-l5", "h3-l8"]}
    return gene.save(tmp_path / "gene.safetensors")


def sizes(costs):
    return [str(cost.spec) for cost in costs]


def expands(learngene, size, **fields):
    try:
        return learngene.expand(learngene.target(size).replace(**fields))
    except LearngeneError:
        return None


@pytest.mark.parametrize("method", extraction_methods())
def test_what_is_listed_is_what_the_learngene_expands_to(method):
    spec = ViTSpec.parse("h3-l4", **TINY)
    learngene = extract(method, ViTWeights(spec, start_values(spec, spec.shapes())), **OPTIONS.get(method, {}))
    every = [f"h{heads}-l{layers}" for heads in range(1, 5) for layers in range(1, 6)]
    found = plan(learngene, ["h1..4-l1..5"], img_size=12, num_classes=7)
    expected = {size for size in every if expands(learngene, size, img_size=12, num_classes=7) is not None}
    assert set(sizes(found)) == expected and expected
    assert found == sorted(found, key=lambda cost: cost.params, reverse=True)


def test_costs_are_those_of_the_built_model(gene):
    for cost in plan(gene, ["h2..3-l3", "h1-l8"], img_size=12, patch_size=2, num_classes=7):
        model = build(gene.expand(cost.spec))
        assert cost.params == sum(parameter.numel() for parameter in model.parameters())
        assert (cost.spec.img_size, cost.spec.patch_size, model.head.out_features) == ((12, 12), 2, 7)


def test_all_sizes_up_to_the_aux_net_by_default_and_larger_ones_by_name(gene):
    assert len(plan(gene)) == 3 * 8 and sizes(plan(gene))[0] == "h3-l8"
    assert sizes(plan(gene, ["h2-l9", "h3..9-l9"])) == ["h3-l9", "h2-l9"]


def test_a_swin_has_a_range_for_each_stage():
    spec = ViTSpec.parse("h1,2,4,8-l1,1,2,1", head_dim=4, embed_dims=4, img_size=32, patch_size=1, window_size=4)
    learngene = extract("peg", ViTWeights.from_layers(spec, *_random(spec)))
    assert "h1,2,4,8-l1,1,2,1" in sizes(plan(learngene))
    assert sizes(plan(learngene, ["h1,2,4..5,8-l1,1,1..2,1"])) == ["h1,2,4,8-l1,1,2,1", "h1,2,4,8-l1,1,1,1"]


def _random(spec):
    layers = [start_values(spec, spec.layer_shapes(layer)) for layer in range(spec.num_layers)]
    return start_values(spec, spec.stem_shapes()), layers


@pytest.mark.parametrize(
    "arch, message",
    [
        ("h9-l8", "expands to 1 to 3 heads and any number of layers, not to h9-l8; the nearest size is h3-l8"),
        ("big", "'big' is no size; expected heads and layers as in 'h6-l12' or 'h6..12-l8..16'"),
        ("h3..1-l8", "expected ranges that go up"),
        ("h1-l1..2000", "to at most 1024 (num_layers)"),
        ("h1..1000-l1..1000", "more than 2,000 sizes"),
    ],
)
def test_what_is_no_size_is_refused(gene, arch, message):
    with pytest.raises(LearngeneError, match=message.replace("(", r"\(").replace(")", r"\)")):
        plan(gene, [arch])


def test_budgets(gene):
    costs = plan(gene)
    middle = costs[len(costs) // 2]
    kept = within(costs, params=middle.params)
    assert kept == costs[len(costs) // 2 :]
    kept = within(costs, macs=middle.macs)
    assert middle in kept and all((cost in kept) == (cost.macs <= middle.macs) for cost in costs)
    with pytest.raises(LearngeneError, match="none of the 24 sizes fits; the smallest is h1-l1 with"):
        within(costs, params=10)


def test_storage_counts_bytes_and_says_from_when_on_a_learngene_pays():
    spec = ViTSpec(1, 1)
    costs = [Cost(spec, params, 0, False) for params in (40, 10, 20, 30)]
    found = storage(200, costs)
    assert (found.checkpoints, found.ratio, found.pays_from) == (400, 2.0, 3)  # 40 + 80 + 120 bytes, smallest first
    assert storage(400, costs).pays_from is None


def test_latency_and_memory_are_measured(gene):
    start = time.perf_counter()
    small, large = (measured(plan(gene, [size])[0], torch.device("cpu"), batch_size=2) for size in ("h1-l2", "h3-l8"))
    assert small.latency > 0 and large.latency > 0  # which is longer, a busy machine does not say
    assert small.latency + large.latency < time.perf_counter() - start  # so they are seconds
    assert small.memory > 4 * small.params and large.memory > 4 * large.params > small.memory
    with pytest.raises(LearngeneError, match="device 'gpu' cannot be used here; expected cpu"):
        checked_device("gpu")


def test_plan(file, capsys):
    assert run("plan", file, "--params", "5k", "--img-size", 12, "--num-classes", 7, "--top", 3) == 0
    text = capsys.readouterr().out
    found = within(plan(LeTs("h1-l4", "h3-l8", groups=2, **TINY), img_size=12, num_classes=7), params=5e3)
    assert [line.split()[0] for line in text.splitlines()[1:4]] == sizes(found)[:3]
    assert f"{len(found)} of 24 sizes fit, 3 are shown; at 12 x 12, patch 4, 7 classes" in text
    assert f"expand {file} --arch {found[0].spec} --img-size 12 --num-classes 7 -o" in text


def test_the_command_that_plan_prints_is_one_that_a_shell_takes(file, tmp_path, capsys):
    odd = tmp_path / "it's a göne & more" / "$x y.learngene.safetensors"
    odd.parent.mkdir()
    shutil.copy(file, odd)
    assert run("plan", odd, "--num-classes", 7) == 0
    command = capsys.readouterr().out.splitlines()[-1].partition(": ")[2]
    program, *arguments = shlex.split(command)
    assert program == "mmlearngene" and arguments[:2] == ["expand", str(odd)]
    assert run(*arguments[:-1], tmp_path / "vit.safetensors") == 0


def test_plan_as_json_marks_trained_sizes(file, capsys):
    assert run("plan", file, "--json", "--top", 0) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["size"] for row in found["sizes"] if row["trained"]} == {"h2-l5", "h3-l8"}
    assert len(found["sizes"]) == found["sizes_that_fit"] == 24
    assert found["storage"]["learngene"] == file.stat().st_size
    assert found["storage"]["checkpoints"] == 4 * sum(row["params"] for row in found["sizes"])
    assert all(row["latency"] is None for row in found["sizes"])


def test_plan_measures_only_if_asked_and_keeps_to_the_latency(file, capsys, monkeypatch):
    seconds = {"h3-l8": 0.03, "h3-l7": 0.01, "h3-l6": 0.02}
    monkeypatch.setattr(
        "mmlearngene.use.latency.measured",
        lambda cost, *_: Cost(cost.spec, cost.params, cost.macs, False, seconds[str(cost.spec)], 10**6),
    )
    assert run("plan", file, "--latency", "25ms", "--top", 2, "--arch", "h3-l6..8", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["size"], row["latency"]) for row in found["sizes"]] == [("h3-l7", 0.01), ("h3-l6", 0.02)]
    assert "none of 3 sizes keeps to 5 ms; the fastest is h3-l7 with 10 ms on cpu" in fails(
        capsys, "plan", file, "--latency", "5ms", "--arch", "h3-l6..8"
    )


@pytest.mark.parametrize(
    "options, message",
    [
        (["--params", "many"], "'many' is no number such as 22M"),
        (["--latency", "10"], "'10' is no time such as 10ms"),
        (["--device", "cuda:77"], "device 'cuda:77' cannot be used here"),
        (["--img-size", "9"], "not divisible into patches of 4; the nearest size is (8, 8)"),
        (["--params", "1"], "none of the 24 sizes fits"),
        (["--params", "0"], "none of the 24 sizes fits"),
        (["--params", "1,5M"], "'1,5M' is no number such as 22M"),
        (["--batch-size", "0", "--device", "cpu"], "--batch-size 0 must be 1 or more"),
        (["--batch-size", "8"], "--batch-size 8 is of what is measured: add --latency, --device or --runtime"),
        (["--top", "-3"], "--top -3 must be 0 or more"),
    ],
)
def test_plan_refuses_bad_input(file, capsys, options, message):
    assert message in fails(capsys, "plan", file, *options)


def test_the_aux_net_is_the_size_that_was_trained_where_nothing_else_is_said(gene):
    assert {str(cost.spec) for cost in plan(gene) if cost.trained} == {"h3-l8"}
    gene.provenance = dict(trained_sizes=["h1-l2", "h2-l2"])
    assert {str(cost.spec) for cost in plan(gene) if cost.trained} == {"h1-l2", "h2-l2"}
