import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlearngene import LearngeneError, load
from mmlearngene.learngenes.papers import read_official
from mmlearngene.learngenes.sws import SWS

from ..support.parity import BLOCK_TENSORS, Golden, assert_aux_net, assert_descendant

TINY = dict(head_dim=4, img_size=8, patch_size=4, num_classes=3)


@pytest.fixture(scope="module")
def golden():
    return Golden("sws")


@pytest.mark.parametrize(("aux", "millions"), [("h6-l16", 9.63), ("h12-l16", 36.95)])
def test_stored_parameters_are_the_papers(aux, millions):
    learngene = SWS(aux=aux)
    assert learngene.learngene_spec.num_layers == 5
    assert round(learngene.stored_params()["total"] / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("layers", "stages"),
    [
        (16, "0001112222333444"),
        (12, "000111223344"),
        (10, "0011223344"),
        (5, "01234"),
        (4, "0134"),
        (3, "024"),
        (1, "0"),
    ],
)
def test_default_stages(layers, stages):
    assert SWS(aux="h1-l16", **TINY).default_stages(layers) == [int(stage) for stage in stages]


def test_in_a_cycle_sets_know_of_no_stage(tmp_path):
    learngene = SWS(aux="h1-l16", layout="cycle", **TINY)
    assert learngene.default_stages(12) == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert learngene.expand().layer_map == (*range(5), *range(5), *range(5), 0)
    assert load(learngene.save(tmp_path / "gene.safetensors")).expand("h1-l3").layer_map == (0, 1, 2)
    with pytest.raises(LearngeneError, match="layout 'cycles' is unknown.*Did you mean 'cycle'"):
        SWS(aux="h1-l16", layout="cycles", **TINY)


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=5), data=st.data(), class_token=st.booleans())
def test_law_every_layer_is_its_stage(counts, data, class_token):
    depth = sum(counts)
    learngene = SWS(aux=f"h2-l{depth}", stages=counts, class_token=class_token, **TINY)
    stacks = learngene.learngene.tensors()

    stages = data.draw(st.lists(st.integers(0, len(counts) - 1), min_size=1, max_size=9))
    weights = learngene.expand(f"h2-l{len(stages)}", stages=stages)
    for stage, tensors in zip(stages, weights.layers(), strict=True):
        assert tensors.keys() == set(BLOCK_TENSORS)
        assert all(torch.equal(tensor, stacks[name][stage]) for name, tensor in tensors.items())

    aux = [stage for stage, count in enumerate(counts) for _ in range(count)]
    same = learngene.expand(f"h2-l{depth}", stages=aux)
    assert learngene.expand().layer_map == same.layer_map == tuple(aux)
    assert all(learngene.expand().tensors[name] is tensor for name, tensor in same.tensors.items())


def test_gradients_reach_every_parameter_through_all_layers_of_a_stage():
    learngene = SWS(aux="h2-l3", stages=(1, 2), **TINY)
    weights = learngene.expand()
    everything = [*weights.stem().values(), *(tensor for layer in weights.layers() for tensor in layer.values())]
    sum(tensor.sum() for tensor in everything).backward()
    for name, parameter in learngene.learngene.tensors().items():
        if name in BLOCK_TENSORS:
            assert (parameter.grad[0] == 1).all() and (parameter.grad[1] == 2).all()
        else:
            assert (parameter.grad == 1).all()


def test_file_round_trip(tmp_path):
    learngene = SWS(aux="h2-l4", stages=(3, 1), **TINY)
    back = load(learngene.save(tmp_path / "gene.safetensors"))
    assert isinstance(back, SWS)
    assert (back.aux_spec, back.learngene_spec, back.config) == (
        learngene.aux_spec,
        learngene.learngene_spec,
        {"stages": [3, 1], "layout": "stages"},
    )
    state = back.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in learngene.state_dict().items())


@pytest.mark.parametrize(("stages", "message"), [((0, 1), "has 2 entries; h2-l3 needs 3"), ((0, 1, 2), "0 to 1")])
def test_explicit_stages_are_checked(stages, message):
    with pytest.raises(LearngeneError, match=message):
        SWS(aux="h2-l4", stages=(2, 2), **TINY).expand("h2-l3", stages=stages)


@pytest.mark.parametrize("stages", [(3, 3, 4, 3, 3), (4, 0), (), (2, -1, 3)])
def test_stages_must_make_the_aux_net(stages):
    with pytest.raises(LearngeneError, match="the nearest that do are"):
        SWS(aux="h2-l4", stages=stages, **TINY)


# ---------------------------------------------------------------- parity with the released code


@pytest.mark.parametrize("size", ["l12", "l16"])
@pytest.mark.parametrize("explicit", [False, True])
def test_official_descendants(golden, size, explicit):
    learngene = read_official(golden.path, "sws", head_dim=8, pool="avg_norm")
    target = next(t for t in golden.meta["targets"] if t["name"] == size)
    options = {"stages": [int(stage) for stage in target["layers_source"].split(",")]} if explicit else {}
    assert_descendant(golden, size, learngene.expand(f"h4-{size}", **options))


def test_official_aux_net_keeps_its_pooling_and_eps(golden):
    learngene = read_official(golden.path, "sws", head_dim=8)
    assert_aux_net(golden, learngene)


def test_official_checkpoint_with_other_stages(golden):
    with pytest.raises(LearngeneError, match="the checkpoint has 5 stages"):
        read_official(golden.path, "sws", head_dim=8, stages=(8, 8))
    with pytest.raises(LearngeneError, match="not a checkpoint of the released sws code"):
        read_official(Golden("lets").path, "sws", head_dim=8)
