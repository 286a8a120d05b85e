"""Tokens of Hugging Face's relatives: those of timm's model with the same weights, normed where the class does not."""

import pytest
import torch

from mmlearngene import build, load_ancestry
from mmlearngene.use.tokens import token_model

from ..support.transformers_models import tiny
from ..support.zoo import images

NAMES = (
    "MetaClip2VisionModel", "ChineseCLIPVisionModel", "OwlViTVisionModel", "GitVisionModel", "BlipVisionModel",
    "Dinov2Backbone", "Dinov2WithRegistersBackbone", "DINOv3ViTBackbone", "DepthAnythingForDepthEstimation",
    "InternVLVisionModel", "IJepaModel", "ViTMSNModel",
)  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_timms(name):
    transformers = pytest.importorskip("transformers")
    model = tiny(getattr(transformers, name))
    weights = load_ancestry(model)
    mine = token_model(model)
    theirs = token_model(build(weights, "timm", adapt=True).eval())
    x = images(weights.spec.img_size)
    one, other = mine(x), theirs(x)
    assert one.patches.shape[1:3] == weights.spec.grid and one.patches.shape[-1] == mine.width == theirs.width
    torch.testing.assert_close(one.patches, other.patches, rtol=0, atol=1e-5)
    assert mine.num_prefix_tokens == theirs.num_prefix_tokens
