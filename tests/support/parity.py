"""The golden numbers of the papers' released code, and a plain timm ViT to run weights in."""

import json
from pathlib import Path

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from mmlearngene import ViTSpec, ViTWeights
from mmlearngene.frameworks.base import UNSEEN
from mmlearngene.frameworks.timm import VIT as TIMM
from mmlearngene.frameworks.timm import model_kwargs
from mmlearngene.learngenes import Learngene

BLOCK_TENSORS = tuple(ViTSpec(1, 1).layer_shapes())  # of a plain ViT
DATA = Path(__file__).parents[1] / "data"


def unseen(spec: ViTSpec) -> dict:
    """What no tensor of a ViT shows, as a user would tell it."""
    return {name: getattr(spec, name) for name in (*UNSEEN, "img_size")}


class Golden:
    """One file of golden numbers: the checkpoint's path, its meta data, an input and expected tensors."""

    def __init__(self, method: str) -> None:
        self.path = DATA / f"{method}_official_small.npz"
        with np.load(self.path) as arrays:
            self.tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        self.meta = json.loads(self.tensors.pop("meta").numpy().tobytes())

    def descendant(self, name: str) -> dict[str, Tensor]:
        """The released code's descendant, in timm's names."""
        prefix = f"des/{name}/"
        return {key.removeprefix(prefix): t for key, t in self.tensors.items() if key.startswith(prefix)}


def timm_logits(weights: ViTWeights, images: Tensor) -> Tensor:
    """Logits (N, classes) of a plain timm ViT with these weights."""
    model = VisionTransformer(**model_kwargs(weights.spec)).eval()
    model.load_state_dict(TIMM.state_dict(weights))
    with torch.no_grad():
        return model(images)


def assert_descendant(golden: Golden, name: str, weights: ViTWeights) -> None:
    """``weights`` are the released code's descendant, tensor by tensor and in what they compute."""
    expected, state = golden.descendant(name), TIMM.state_dict(weights)
    assert state.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(state[key], tensor, rtol=0, atol=1e-6)
    logits = timm_logits(weights, golden.tensors["x"])
    torch.testing.assert_close(logits, golden.tensors[f"des_logits/{name}"], rtol=0, atol=1e-5)


def assert_aux_net(golden: Golden, learngene: Learngene) -> None:
    """The Aux-Net pools and normalises as the released code and computes its logits; a descendant of its size is it."""
    assert (learngene.aux_spec.pool, learngene.aux_spec.norm_eps) == ("norm_avg", 1e-5)
    logits = timm_logits(learngene.expand(), golden.tensors["x"])
    torch.testing.assert_close(logits, golden.tensors["aux_logits"], rtol=0, atol=1e-5)
    assert torch.equal(logits, timm_logits(learngene.expand(str(learngene.aux_spec)), golden.tensors["x"]))
