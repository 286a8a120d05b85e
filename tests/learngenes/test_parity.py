"""LeTs computes what the paper's own released code computes."""

import pytest
import torch

from mmlearngene import ViTSpec
from mmlearngene.frameworks.timm import VIT as TIMM
from mmlearngene.learngenes.papers import read_official

from ..support.parity import Golden, timm_logits

SIZES = ("h2-l12", "h3-l8", "h4-l16")


@pytest.fixture(scope="module")
def golden():
    return Golden("lets")


@pytest.fixture(scope="module")
def learngene(golden):
    return read_official(golden.path, "lets", head_dim=golden.meta["head_dim"])


def expanded(golden, learngene, size):
    """The descendant by the rows of G that the released code used: half its ``mapping_layer_coeff``."""
    target = next(target for target in golden.meta["targets"] if target["name"] == size)
    return learngene.expand(size, rows=[int(number) // 2 for number in target["mapping_layer_coeff"].split(",")])


def released(golden, size):
    """The released descendant; it keeps q, k and v as separate layers, timm as one."""
    state = golden.descendant(size)
    for key in [key for key in state if ".attn.q." in key]:
        state[key.replace(".q.", ".qkv.")] = torch.cat([state.pop(key.replace(".q.", f".{part}.")) for part in "qkv"])
    return state


def test_the_checkpoint_is_read_as_the_network_it_is(golden, learngene):
    assert {target["name"] for target in golden.meta["targets"]} == set(SIZES)
    fields = dict(head_dim=8, img_size=32, num_classes=10)
    assert learngene.learngene_spec == ViTSpec(2, 8, **fields)
    assert learngene.aux_spec == ViTSpec(4, 16, **fields)
    assert {name: learngene.config[name] for name in ("groups", "rows", "repeats")} == dict(groups=4, rows=2, repeats=2)


@pytest.mark.parametrize("size", SIZES)
def test_descendants_are_the_released_codes(golden, learngene, size):
    weights = expanded(golden, learngene, size)
    expected, found = released(golden, size), TIMM.state_dict(weights)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-5, rtol=0)
    logits = timm_logits(weights, golden.tensors["x"])
    torch.testing.assert_close(logits, golden.tensors[f"des_logits/{size}"], atol=1e-5, rtol=0)


def test_the_aux_net_computes_the_released_logits(golden, learngene):
    logits = timm_logits(learngene.expand(), golden.tensors["x"])
    torch.testing.assert_close(logits, golden.tensors["aux_logits"], atol=1e-5, rtol=0)


def test_the_numbers_tell_rows_apart(golden, learngene):
    wrong = learngene.expand("h3-l8", rows=[7, 6, 5, 4, 3, 2, 1, 0])
    logits = timm_logits(wrong, golden.tensors["x"])
    assert (logits - golden.tensors["des_logits/h3-l8"]).abs().max() > 1e-3
