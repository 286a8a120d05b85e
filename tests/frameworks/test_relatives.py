"""Every table of Hugging Face's classes: its model computes what timm's does with the canonical weights."""

import importlib

import pytest

from mmlearngene.frameworks import find_vit, hf, hf_relatives

from ..support.hf_walk import is_timms
from ..support.same_as_timm import apart_from_class, apart_from_timm
from ..support.transformers_models import tiny

HELD = {  # modules without a config of their own, and what has one
    "GitVisionTransformer": "GitVisionModel",
    "Ovis2VisionTransformer": "Ovis2VisionModel",
}
CLASSES = sorted({layout.cls for layout in hf_relatives.LAYOUTS} - {layout.cls for layout in hf.LAYOUTS})


@pytest.mark.parametrize("path", CLASSES, ids=lambda path: path.rpartition(".")[2])
def test_it_is_timms(path):
    module, _, name = path.rpartition(".")
    model = tiny(getattr(importlib.import_module(module), HELD.get(name, name)))
    found = find_vit(model)
    assert found.layout.cls == path
    assert is_timms(found.spec) and apart_from_timm(model) <= 1e-5
    assert apart_from_class(model) <= 1e-6
