"""`mmlearngene probe`: what it is asked is checked before any work, and what it has found is kept at once."""

import json
import os
import re
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from mmlearngene import ViTSpec, extract
from mmlearngene.cli import probe
from mmlearngene.testing import random_weights
from mmlearngene.use import probes

from ..support.command import fails, room, run

BANK = ["--bank", "{}/train", "--queries", "{}/val"]
SEG = ["--segmentation", "{}/seg.py"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Learngenes of two image sizes, folders of images, and segmentation sets, sound ones and others."""
    root = tmp_path_factory.mktemp("probe")
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    for name, side, channels in (("gene", 16, 3), ("large", 24, 3), ("grey", 16, 1), ("five", 16, 5)):
        spec = ViTSpec(2, 4, head_dim=4, img_size=side, patch_size=4, num_classes=3, in_channels=channels)
        extract("first-k", random_weights(spec)).save(root / f"{name}.safetensors")
    spec = ViTSpec(1, 2, head_dim=2, img_size=16, patch_size=4, num_classes=3)
    extract("first-k", random_weights(spec)).save(root / "narrow.safetensors")
    for split in ("train", "val"):
        for label in "ab":
            (root / split / label).mkdir(parents=True)
            for number in range(3):
                pixels = draw.integers(0, 255, (20, 20, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{number}.png")
    for name in ("one/a", "empty", "broken/a", "broken/b", "fifo/a", "bomb/a", "bomb/b"):
        (root / name).mkdir(parents=True)
    for name in ("one/a/0", "broken/a/0", "bomb/a/0"):
        Image.new("RGB", (8, 8)).save(root / f"{name}.png")
    (root / "broken/b/0.png").write_bytes((root / "train/a/0.png").read_bytes()[:100])
    data = (root / "one/a/0.png").read_bytes()
    chunk = data[12:16] + (10**5).to_bytes(4, "big") * 2 + data[24:29]  # PNG's header, with its checksum behind it
    (root / "bomb/b/0.png").write_bytes(data[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[33:])
    os.mkfifo(root / "fifo/a/0.png")
    labels = {
        "seg": [draw.integers(0, 3, (16, 16)).astype(np.uint8)],
        "colour": [draw.integers(0, 3, (16, 16, 3)).astype(np.uint8)],
        "same": [np.zeros((16, 16), np.uint8)], "ignored": [np.full((16, 16), 255, np.uint8)],
        "cut": [draw.integers(0, 3, (16, 16)).astype(np.uint8)], "none": [],
    }  # fmt: skip
    for name, maps in labels.items():
        for kind in ("img", "ann"):
            (root / name / kind).mkdir(parents=True, exist_ok=True)
        for number, plane in enumerate(maps):
            Image.fromarray(draw.integers(0, 255, (16, 16, 3)).astype(np.uint8)).save(root / name / f"img/{number}.png")
            Image.fromarray(plane).save(root / name / f"ann/{number}.png")
        prefix = dict(img_path="img", seg_map_path="ann")
        dataset = dict(type="BaseSegDataset", data_root=str(root / name), img_suffix=".png", data_prefix=prefix)
        (root / f"{name}.py").write_text(f"train_dataloader = val_dataloader = dict(dataset={dataset})\n")
    file = root / "cut/ann/0.png"
    file.write_bytes(file.read_bytes()[:60])
    (root / "kind.py").write_text("train_dataloader = val_dataloader = dict(dataset=dict(type='NoSuch'))\n")
    (root / "classes.py").write_text(
        "train_dataloader = val_dataloader = dict(dataset=dict(type='mmlearngene.DigitsClassification'))\n"
    )
    (root / "exits.py").write_text("raise SystemExit(0)\n")
    (root / "own.py").write_text("_base_ = './own.py'\n")
    return root


def filled(arguments, root):
    return [argument.replace("{}", str(root)) for argument in arguments]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["{}/gene.safetensors", "--start", "{}/none.safetensors", *BANK], "none.safetensors"),
        (["{}/gene.safetensors", "--start", "{}/seg.py", *BANK], "seg.py is none; leave out --start"),
        (["{}/gene.safetensors", "--start", "{}/narrow.safetensors", *BANK], "are h1-l2, h2-l4; expected --sizes"),
        (["{}/gene.safetensors", "--start", "{}", "--pictures", "{}/one", "--figure", "x.png"], "needs --bank"),
        (["{}/gene.safetensors"], "nothing to do"),
        (["{}/gene.safetensors", *BANK[:2]], "--bank needs --queries"),
        (["{}/gene.safetensors", *BANK, "--limit", "0"], "--limit 0: expected 1 or more"),
        (["{}/gene.safetensors", *BANK, "--limit", "-3"], "--limit -3: expected 1 or more"),
        (["{}/gene.safetensors", *BANK, "--limit", "1"], "images of one class .1 images.; expected a larger limit"),
        (["{}/gene.safetensors", *BANK, "--std", "0"], "--std 0.0: expected finite numbers above 0"),
        (["{}/gene.safetensors", *BANK, "--std", "inf"], "--std inf: expected finite numbers"),
        (["{}/gene.safetensors", *BANK, "--mean", "nan"], "--mean nan: expected finite numbers"),
        (["{}/gene.safetensors", *BANK, "--mean", "1", "2"], "expected 3 numbers, one a channel"),
        (["{}/gene.safetensors", *BANK, "--img-size", "0"], r"not divisible into patches of 4; the nearest"),
        (["{}/gene.safetensors", *BANK, "--img-size", "17"], r"the nearest size is \(16, 16\)"),
        (["{}/gene.safetensors", *BANK, "--sizes", "h9-l9"], "the nearest size is h2-l4"),
        (["{}/gene.safetensors", "{}/none.safetensors", *BANK], "no such file"),
        (["{}/gene.safetensors", *BANK, "--sizes", "h2-l4", "h2-l4"], "gene h2-l4 is named twice"),
        (["{}/five.safetensors", *BANK], "takes images of 5 channels; expected 3, or 1"),
        (["{}/gene.safetensors", "--bank", "{}/one", "--queries", "{}/one"], "one class, 'a'"),
        (["{}/gene.safetensors", "--bank", "{}/one", "--queries", "{}/val"], "different classes: b"),
        (["{}/gene.safetensors", "--bank", "{}/empty", "--queries", "{}/val"], "empty holds no images"),
        (["{}/gene.safetensors", "--bank", "{}/nowhere", "--queries", "{}/val"], "nowhere is no folder"),
        (["{}/gene.safetensors", "--bank", "{}/fifo", "--queries", "{}/val"], "fifo/a/0.png is no file"),
        (["{}/gene.safetensors", "--bank", "{}/broken", "--queries", "{}/val"], "b/0.png cannot be read as an image"),
        (["{}/gene.safetensors", "--bank", "{}/bomb", "--queries", "{}/val"], "b/0.png cannot be .*DecompressionBomb"),
        (["{}/gene.safetensors", *BANK, "-o", "{}"], "expected the name of a JSON file"),
        (["{}/gene.safetensors", *BANK, "--out", "{}/x.txt"], "expected the name of a JSON file"),
        (["{}/gene.safetensors", *BANK, "-o", "{}/there.json"], "there.json exists; choose another name, or --force"),
        (["{}/gene.safetensors", "--pictures", "{}/val", "--figure", "{}/x.xyz"], "the name of a picture: .*png"),
        (["{}/gene.safetensors", "--pictures", "{}/val", "--figure", "{}/there.png"], "there.png exists"),
        (["{}/gene.safetensors", "--pictures", "{}/empty", "--figure", "{}/x.png"], "empty holds no images"),
        (["{}/narrow.safetensors", "--pictures", "{}/val", "--figure", "{}/x.png"], "shows 3 components, and narrow"),
        (["{}/gene.safetensors", "--pictures", "{}/val", "--figure", "{}/x.png", "-o", "{}/x.json"], "no numbers"),
        (["{}/grey.safetensors", *SEG], "has images of 3 channels"),
        (["{}/gene.safetensors", "--segmentation", "{}/nothing.py"], "no such file"),
        (["{}/gene.safetensors", "--segmentation", "{}/gene.safetensors"], "is not a readable config"),
        (["{}/gene.safetensors", "--segmentation", "{}/exits.py"], "is not a readable config .SystemExit"),
        (["{}/gene.safetensors", "--segmentation", "{}/own.py"], "own.py -> own.py is its own _base_"),
        (["{}/gene.safetensors", "--segmentation", "{}/kind.py"], "train_dataloader is no set of segmentation"),
        (["{}/gene.safetensors", "--segmentation", "{}/classes.py"], "image 0 of DigitsClassification: KeyError"),
        (["{}/gene.safetensors", "--segmentation", "{}/none.py"], "none/img. What to do: "),
        (["{}/gene.safetensors", "--segmentation", "{}/colour.py"], "expected one number of 0 or more for each pixel"),
        (["{}/gene.safetensors", "--segmentation", "{}/cut.py"], "image 0 of BaseSegDataset"),
        (["{}/gene.safetensors", "--segmentation", "{}/same.py"], "are all 0; expected two classes"),
        (["{}/gene.safetensors", "--segmentation", "{}/ignored.py"], "no pixel of the images .* has a label"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_told_in_one_line(arguments, message, place, capsys):
    for name in ("there.json", "there.png"):
        (place / name).touch()
    before = sorted(place.iterdir())
    error = fails(capsys, "probe", *filled(arguments, place))
    assert error.count("\n") == 1
    assert re.search(message, error), error
    assert sorted(place.iterdir()) == before


def test_every_model_is_looked_at_before_any_image(place, capsys, monkeypatch):
    monkeypatch.setattr(probes.Judged, "tokens", lambda *_: pytest.fail("an image was looked at"))
    sizes = ["--sizes", "h2-l2", "h9-l9"]
    assert "the nearest size is h2-l4" in fails(
        capsys, "probe", place / "gene.safetensors", *filled(BANK, place), *sizes
    )


def test_results_are_written_model_by_model(place, tmp_path, capsys, monkeypatch):
    real, out = probe.knn_accuracy, tmp_path / "new" / "scores.json"
    told = []

    def judged(*args):
        told.append(out.exists() and json.loads(out.read_text()))
        if len(told) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(probe, "knn_accuracy", judged)
    sizes = ["--sizes", "h2-l2", "h2-l3", "h2-l4"]
    assert run("probe", place / "gene.safetensors", *filled(BANK, place), *sizes, "-o", out) == 130
    assert [told and list(told) for told in told] == [False, ["gene h2-l2"], ["gene h2-l2", "gene h2-l3"]]
    assert list(json.loads(out.read_text())) == ["gene h2-l2", "gene h2-l3"]
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].startswith("1 of 3, gene h2-l2: knn ") and errors[1].startswith("2 of 3, gene h2-l3: knn ")
    monkeypatch.setattr(probe, "knn_accuracy", real)
    with room(0):
        error = fails(capsys, "probe", place / "gene.safetensors", *filled(BANK, place), "-o", out, "--force")
    assert "File too large" in error and str(out) in error.splitlines()[-1]
    assert list(json.loads(out.read_text())) == ["gene h2-l2", "gene h2-l3"]


def test_images_of_different_sizes_are_said(place, capsys):
    sources = [place / "gene.safetensors", place / "large.safetensors"]
    assert run("probe", *sources, *filled(BANK, place)) == 0
    note = capsys.readouterr().err.splitlines()[0]
    assert note.startswith("note: models see images of different sizes (gene h2-l4 16 x 16, large h2-l4 24 x 24)")
    assert run("probe", *sources, *filled(BANK, place), "--img-size", 24) == 0
    assert "note" not in capsys.readouterr().err


def test_what_was_trained_is_held_against_its_start(place, tmp_path, capsys, monkeypatch):
    start, trained = place / "gene.safetensors", tmp_path / "trained.safetensors"
    trained.write_bytes(start.read_bytes())
    scores = iter([50.0, 60.0, 55.0, 58.0])
    monkeypatch.setattr(probe, "knn_accuracy", lambda *args: next(scores))
    monkeypatch.setattr(probe, "linear_accuracy", lambda *args: 70.0)
    arguments = ["probe", trained, "--start", start, *filled(BANK, place)]
    assert run(*arguments, "--sizes", "h2-l2", "h2-l3") == 0
    printed = capsys.readouterr().out.splitlines()
    assert "warning: worse than the start: trained h2-l3 (knn 58.0 after 60.0). What to do: train longer" in printed[-1]
    assert printed[1].startswith("gene h2-l2") and printed[3].startswith("trained h2-l2")  # the start comes first
    scores = iter([50.0, 50.04])
    assert run(*arguments) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "as good as the start or better: all 1 sizes"


def test_files_of_one_name_are_told_apart_and_grey_images_have_one_mean(place, tmp_path, capsys):
    (tmp_path / "grey.safetensors").write_bytes((place / "grey.safetensors").read_bytes())
    sources = [str(place / "grey.safetensors"), str(tmp_path / "grey.safetensors")]
    found = list(probes.models_of(sources, []))
    assert [model.name for model in found] == [f"{source.removesuffix('.safetensors')} h2-l4" for source in sources]
    assert found[0].mean == pytest.approx((0.449,)) and found[0].std == pytest.approx((0.226,))
    assert run("probe", *sources, *filled(BANK, place)) == 0
    assert all(f"{source.removesuffix('.safetensors')} h2-l4" in capsys.readouterr().out for source in sources[:1])


def test_patches_and_pictures(place, tmp_path, capsys):
    figure, out = tmp_path / "x.png", tmp_path / "x.json"
    arguments = [*filled(SEG, place), "--pictures", place / "one", "--figure", figure, "-o", out]
    assert run("probe", place / "gene.safetensors", *arguments) == 0
    scores = json.loads(out.read_text())["gene h2-l4"]
    assert set(scores) == {"patch_accuracy", "patch_mIoU"} and scores["patch_accuracy"] > 50  # of what was fitted
    assert figure.stat().st_size > 1000 and f"wrote {figure}" in capsys.readouterr().out
