import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlearngene import LearngeneError, load
from mmlearngene.learngenes.papers import read_official
from mmlearngene.learngenes.tleg import TLEG

from ..support.parity import BLOCK_TENSORS, Golden, assert_aux_net, assert_descendant

TINY = dict(head_dim=4, img_size=8, patch_size=4, num_classes=3)


@pytest.fixture(scope="module")
def golden():
    return Golden("tleg")


@pytest.mark.parametrize(("aux", "millions"), [("h3-l12", 1.27), ("h6-l12", 4.31), ("h12-l12", 15.69)])
def test_stored_parameters_are_the_papers(aux, millions):
    counts = TLEG(aux=aux).stored_params()
    assert round(counts["total"] / 1e6, 2) == millions
    assert counts["maps"] == 0
    assert counts["learngene"] + counts["positions"] == counts["total"]


def test_start_values():
    tensors = TLEG(aux="h2-l4", **TINY).learngene.tensors()
    for norm in ("norm1", "norm2"):
        assert tensors[f"{norm}.weight"].tolist() == [[1] * 8, [0] * 8]
        assert not tensors[f"{norm}.bias"].any()
    for name in ("qkv.weight", "proj.weight", "fc1.weight", "fc2.weight"):
        assert 0.01 < tensors[name][0].std() < 0.03
        assert 0.01 < tensors[name][1].std() < 0.03
    assert not tensors["qkv.bias"].any()


@settings(max_examples=25, deadline=None)
@given(heads=st.integers(1, 3), aux_layers=st.integers(1, 6), layers=st.integers(1, 9), class_token=st.booleans())
def test_law_layers_are_linear_in_their_position(heads, aux_layers, layers, class_token):
    learngene = TLEG(aux=f"h{heads}-l{aux_layers}", class_token=class_token, **TINY)
    weights = learngene.expand(f"h{heads}-l{layers}")
    for name, stack in learngene.learngene.tensors().items():
        if name in BLOCK_TENSORS:
            for layer, tensors in enumerate(weights.layers()):
                torch.testing.assert_close(tensors[name], stack[0] + layer / layers * stack[1])
        else:
            assert weights.tensors[name] is stack
    aux, same = learngene.expand(), learngene.expand(f"h{heads}-l{aux_layers}")
    assert all(torch.equal(aux.tensors[name], same.tensors[name]) for name in aux.tensors)


def test_gradients_reach_every_parameter():
    learngene = TLEG(aux="h2-l3", **TINY)
    weights = learngene.expand()
    sum((tensor * torch.rand_like(tensor)).sum() for tensor in weights.tensors.values()).backward()
    assert all(parameter.grad.abs().min() > 0 for parameter in learngene.parameters())


def test_file_round_trip(tmp_path):
    learngene = TLEG(aux="h2-l3", **TINY)
    back = load(learngene.save(tmp_path / "gene.safetensors"))
    assert isinstance(back, TLEG)
    assert (back.aux_spec, back.learngene_spec) == (learngene.aux_spec, learngene.learngene_spec)
    state = back.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in learngene.state_dict().items())


def test_no_weight_decay_on_vectors_of_the_unstacked_network():
    learngene = TLEG(aux="h2-l3", class_token=True, **TINY)
    decayed = set(dict(learngene.named_parameters())) - learngene.no_weight_decay()
    names = ("patch_embed", "qkv", "proj", "fc1", "fc2", "head")
    assert decayed == {f"learngene.{name}.weight" for name in names}


@pytest.mark.parametrize("size", ["h3-l3", "h1-l3"])
def test_another_width_is_refused_with_the_nearest_size(size):
    with pytest.raises(LearngeneError, match="nearest size is h2-l3"):
        TLEG(aux="h2-l3", **TINY).expand(size)


def test_learngene_size_follows_from_the_aux():
    assert str(TLEG(learngene="h2-l2", aux="h2-l5", **TINY).learngene_spec) == "h2-l2"
    with pytest.raises(LearngeneError, match="h2-l2"):
        TLEG(learngene="h2-l5", aux="h2-l5", **TINY)


# ---------------------------------------------------------------- parity with the released code


@pytest.mark.parametrize("size", ["l3", "l6", "l12"])
def test_official_descendants(golden, size):
    learngene = read_official(golden.path, "tleg", head_dim=8, pool="avg_norm")
    assert_descendant(golden, size, learngene.expand(f"h4-{size}"))


def test_official_aux_net_keeps_its_pooling_and_eps(golden):
    learngene = read_official(golden.path, "tleg", head_dim=8)
    assert_aux_net(golden, learngene)


def test_official_checkpoint_of_another_method(golden):
    with pytest.raises(LearngeneError, match="not a checkpoint of the released tleg code"):
        read_official(Golden("sws").path, "tleg", head_dim=8)
    with pytest.raises(LearngeneError, match="head_dim=7 does not divide the width 32; the nearest that does is 8"):
        read_official(golden.path, "tleg", head_dim=7)
