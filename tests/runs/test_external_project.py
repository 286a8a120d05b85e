"""A project that knows nothing of ours: one import and one init_cfg in its configs make it start from a learngene."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmlearngene import ViTSpec, extract
from mmlearngene.testing import random_weights

pytest.importorskip("mmseg")
ROOT = Path(__file__).parents[2]
PROJECT = Path(__file__).parents[1] / "external" / "project"
SPEC = ViTSpec.parse("h2-l5", head_dim=8, img_size=32, patch_size=8, num_classes=2, class_token=True, pool="cls")
NAMES = ("classify", "segment", "brightness")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The output of one process that trains all configs, and its folder."""
    folder = tmp_path_factory.mktemp("project")
    torch.manual_seed(0)
    extract("first-k", random_weights(SPEC)).save(folder / "gene.safetensors")
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("bright", 128)):
        for number in range(4):
            for path, image in (
                (f"images/{name}/{number}.png", rng.integers(low, low + 127, (32, 32, 3), np.uint8)),
                (f"labels/{number}.png", rng.integers(0, 2, (32, 32), np.uint8)),
            ):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(folder / path)
    done = subprocess.run(
        [sys.executable, PROJECT / "train.py", *(PROJECT / "configs" / f"{name}.py" for name in NAMES)],
        cwd=folder, env={**os.environ, "PYTHONPATH": f"{ROOT}:{PROJECT}", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout, folder


@pytest.mark.parametrize("name, scope", zip(NAMES, ("mmpretrain", "mmseg", "thirdparty"), strict=True))
def test_a_scope_starts_from_a_learngene(run, name, scope):
    output, folder = run
    assert re.search(rf"^{scope} \w+ trained \d iterations$", output, re.MULTILINE)
    assert output.count("h2-l3 from first-k (gene.safetensors): 100.0% of the backbone inherited") == len(NAMES)
    # AdamW at 1e-3 moved every number by a few thousandths at most: what was trained is what was inherited
    state = torch.load(folder / "work_dirs" / name / "epoch_1.pth", weights_only=False)["state_dict"]
    trained = next(
        tensor for key, tensor in state.items() if re.search(r"layers\.1\.attn.*(qkv|in_proj_)\.?weight", key)
    )
    torch.manual_seed(0)
    expected = random_weights(SPEC).layers()[1]["qkv.weight"].flatten(0, 2)
    assert 0 < (trained - expected).abs().max() < 0.02 < expected.std()


def test_the_project_knows_nothing_else_of_ours():
    for path in PROJECT.rglob("*.py"):
        lines = [line.strip() for line in path.read_text().splitlines() if "learngene" in line.lower()]
        allowed = (r"custom_imports = dict\(imports=\[.*", r'init_cfg=dict\(type="Learngene", .*')
        assert all(any(re.fullmatch(pattern, line) for pattern in allowed) for line in lines), (path, lines)
