"""Sizes ranked without labels: what they keep of a teacher's tokens."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import NearestNeighbors
from torch import nn

from mmlearngene import ViTSpec, build, extract
from mmlearngene.cli import main
from mmlearngene.errors import LearngeneError
from mmlearngene.testing import random_weights
from mmlearngene.use import agreement
from mmlearngene.use.agreement import Agreement
from mmlearngene.use.probes import Judged
from mmlearngene.use.tokens import Tokens

SPEC = ViTSpec.parse("h3-l4", head_dim=8, img_size=32, patch_size=8, class_token=True, pool="cls")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images that differ: blocks of colour with noise on them, in one folder, without labels."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(40):
        blocks = rng.integers(0, 255, (2, 2, 3)).repeat(20, 0).repeat(20, 1)
        noisy = (blocks + rng.normal(0, 20, blocks.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:02d}.png")
    return folder


class Fixed(nn.Module):
    """Tokens that are a function of the image's patches alone."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, images: torch.Tensor) -> Tokens:
        patches = images.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).flatten(3) @ self.weight
        return Tokens(patches, patches.mean((1, 2)))


def judged(weight: torch.Tensor) -> Judged:
    return Judged("fixed", SPEC, Fixed(weight), (0.5,) * 3, (0.5,) * 3)


def draw(width: int, seed: int) -> torch.Tensor:
    return torch.randn(192, width, generator=torch.Generator().manual_seed(seed)) / 8


def test_a_model_keeps_all_of_itself_also_turned(photos):
    teacher = draw(12, 0)
    turn = torch.linalg.qr(draw(12, 1)[:12])[0]
    found = Agreement(judged(teacher), photos)
    for student in (teacher, teacher @ turn):
        assert found.of(judged(student)) == pytest.approx(dict(cosine=100, neighbours=100), abs=0.01)


def test_the_numbers_are_scikit_learns(photos):
    teacher, student = judged(draw(12, 0)), judged(draw(12, 0)[:, :5] + 0.3 * draw(5, 2))
    kept = Agreement(teacher, photos, num_images=36)
    found = kept.of(student)
    ((of_teacher, summaries), (patches, own)) = (kept._tokens(model) for model in (teacher, student))
    inputs, targets = (tokens.flatten(1, 2).numpy() for tokens in (patches, of_teacher))
    fit = LinearRegression().fit(inputs[:18].reshape(-1, 5), targets[:18].reshape(-1, 12))
    mean = targets[:18].reshape(-1, 12).mean(0)
    a, b = fit.predict(inputs[18:].reshape(-1, 5)) - mean, targets[18:].reshape(-1, 12) - mean
    cosine = ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean()
    assert found["cosine"] == pytest.approx(100 * cosine, abs=0.01)
    near = []
    for tokens in (summaries[18:], own[18:]):
        tokens = (tokens - tokens.mean(0)).numpy()
        search = NearestNeighbors(n_neighbors=11, metric="cosine").fit(tokens)
        near.append([set(row) - {i} for i, row in enumerate(search.kneighbors(tokens, return_distance=False))])
    shares = [len(a & b) / 10 for a, b in zip(*near, strict=True)]
    assert found["neighbours"] == pytest.approx(100 * np.mean(shares), abs=0.01)
    assert 5 < found["cosine"] < 99 and 10 < found["neighbours"] < 99


def test_noise_keeps_nothing_and_a_part_keeps_a_part(photos):
    teacher = draw(12, 0)
    kept = Agreement(judged(teacher), photos)
    whole, half, noise = (kept.of(judged(weight))["cosine"] for weight in (teacher, teacher[:, :6], draw(1, 9)))
    assert noise < half < whole


def test_too_few_images_are_told(photos):
    with pytest.raises(LearngeneError, match="20 images are too few to compare tokens on; expected 24 or more"):
        Agreement(judged(draw(4, 0)), photos, num_images=20)


@pytest.fixture(scope="module")
def gene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gene")
    torch.manual_seed(0)
    weights = random_weights(SPEC)
    build(weights, "hf").save_pretrained(folder / "ancestry")
    return extract("weight-selection", weights).save(folder / "gene.safetensors"), folder / "ancestry"


def test_a_sweep_without_labels(gene, photos, tmp_path, capsys):
    pytest.importorskip("transformers")
    path, ancestry = gene
    common = ["sweep", str(path), "--data", str(photos), "--teacher", str(ancestry), "--images", "40"]
    assert main([*common, "--arch", "h1..3-l2..4", "-o", str(tmp_path / "out")]) == 0
    told = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(told["sizes"]) == 9 and told["best"] == told["sizes"][0]["size"] == "h3-l4"
    assert told["sizes"][0]["cosine"] == pytest.approx(100, abs=0.01)  # the ancestry itself
    cosines = [row["cosine"] for row in told["sizes"]]
    assert cosines == sorted(cosines, reverse=True) and cosines[-1] < 99
    assert all(row["latency"] > 0 and row["memory"] > 0 for row in told["sizes"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "family.html", "family.png", "results.json", "table.txt"
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert "the best: h3-l4 with 100.00" in printed and "expand" in printed
    small = [
        *common,
        "--arch",
        "h1..3-l2..4",
        "--params",
        "20k",
        "--metric",
        "neighbours",
        "-o",
        str(tmp_path / "small"),
    ]
    assert main(small) == 0
    told = json.loads((tmp_path / "small" / "results.json").read_text())
    assert told["metric"] == "neighbours" and all(row["params"] <= 20_000 for row in told["sizes"])


@pytest.mark.parametrize(
    "more, message",
    [
        (["--epochs", "2"], "--epochs 2 is of a sweep with labels"),
        (["--metric", "accuracy/top1"], "--metric of --teacher 'accuracy/top1' is unknown; expected one of cosine"),
    ],
)
def test_what_does_not_go_with_a_teacher_is_told(more, message, gene, photos, tmp_path, capsys):
    path, ancestry = gene
    command = ["sweep", str(path), "--data", str(photos), "--teacher", str(ancestry), "-o", str(tmp_path / "out")]
    assert main([*command, *more]) == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_full_folder_and_images_without_a_teacher_are_told(gene, photos, tmp_path, capsys):
    path, ancestry = gene
    (tmp_path / "mine.txt").touch()
    command = ["sweep", str(path), "--data", str(photos), "-o", str(tmp_path)]
    assert main([*command, "--teacher", str(ancestry)]) == 2 and "is not empty" in capsys.readouterr().err
    assert main([*command, "--images", "9"]) == 2 and "--images 9 is of --teacher" in capsys.readouterr().err


def test_neighbours_leave_the_image_itself_out():
    summaries = torch.randn(24, 6)
    found = agreement._nearest(summaries)
    assert found.shape == (24, 10) and not (found == torch.arange(24)[:, None]).any()
