"""Every size of a family, evaluated: real runs on the digits, stopped and resumed, and the page that shows them."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from mmlearngene import ViTSpec, build, load
from mmlearngene.datasets.digits import CLASSES, load_split
from mmlearngene.datasets.folders import read_folders, write_list
from mmlearngene.engine.run import sweep
from mmlearngene.errors import LearngeneError
from mmlearngene.io.atomic import save_bytes
from mmlearngene.io.checkpoints import load_state_dict
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.registry import MODELS
from mmlearngene.use.export.int8 import quantised, session_of
from mmlearngene.use.export.onnx import onnx_bytes
from mmlearngene.use.family import Family, Member, page_of, plot_family, table_of
from mmlearngene.use.planning import Cost

from ..support.command import fails, run
from ..support.processes import Script, below, running

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs/demo/des.py"
DIGITS = dict(head_dim=4, img_size=8, patch_size=4, in_channels=1, num_classes=10)
NORM = ["--mean", 0.3045, "--std", 0.376, "--crop-pct", 1, "--workers", 0]


@pytest.fixture(scope="module")
def gene(tmp_path_factory):
    torch.manual_seed(0)
    learngene = LeTs("h1-l4", "h3-l8", groups=2, **DIGITS)
    torch.nn.init.normal_(learngene.state_dict()["learngene.head.weight"])  # so that the classes are far apart
    learngene.provenance = {"trained_sizes": ["h3-l8", "h2-l5"]}
    learngene.classes = list(CLASSES)
    return learngene.save(tmp_path_factory.mktemp("gene") / "gene.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """60 digits, a folder for each class."""
    root = tmp_path_factory.mktemp("digits")
    for number, (image, label) in enumerate(zip(*load_split("test"), strict=True)):
        if number < 60:
            (root / str(label)).mkdir(exist_ok=True)
            Image.fromarray(image).save(root / str(label) / f"{number}.png")
    return root


def accuracy(gene, size, images, labels):
    model = build(load(gene).expand(size)).eval()
    with torch.no_grad():
        return 100 * float((model(images).argmax(1) == labels).float().mean())


# ---------------------------------------------------------------- sweeps


@pytest.fixture
def in_process(monkeypatch):
    """Sizes run one after another in this process: starting processes is tested once."""

    def run_sizes(sizes, config, gene, epochs, folder, jobs):
        for spec in sizes:
            told = []
            result = sweep.run_size(str(config), str(gene), spec.asdict(), epochs, str(folder), told.append)
            assert told == sorted(told) and told[-1] == 1
            save_bytes(sweep.size_file(folder, spec), json.dumps(result).encode())
            yield from ((spec, share) for share in told)
            yield spec, result

    monkeypatch.setattr(sweep, "run_sizes", run_sizes)


def test_sizes_are_evaluated_in_processes_and_the_best_is_named(gene, folder, tmp_path, capsys, monkeypatch):
    seen, real = [], sweep.run_sizes
    monkeypatch.setattr(sweep, "run_sizes", lambda *args: (seen.append(event) or event for event in real(*args)))
    out = tmp_path / "out"
    command = ["sweep", gene, "--data", folder, "--arch", "h1..2-l2", "--params", "10k", *NORM, "--jobs", 2, "-o", out]
    assert run(*command) == 0
    captured = capsys.readouterr()
    assert sum(isinstance(result, dict) for _, result in seen) == 2
    assert 1.0 in [result for _, result in seen]  # all of a size's images are done

    images, labels = (torch.tensor(array[:60]) for array in load_split("test"))
    images = (images[:, None] / 255 - 0.3045) / 0.376
    results = json.loads((out / "results.json").read_text())
    assert [row["size"] for row in results["sizes"]] == ["h2-l2", "h1-l2"]
    assert results["classes"] == list(CLASSES)
    for row in results["sizes"]:
        assert row["untuned"] == pytest.approx(accuracy(gene, row["size"], images, labels), abs=0.01)
        assert row["tuned"] is None and row["inherited"] == 1.0
    best = max(results["sizes"], key=lambda row: (row["untuned"], -row["params"]))
    assert f"the best within 10,000 parameters: {best['size']} with {best['untuned']:.2f}" in captured.out
    assert all((out / name).stat().st_size for name in ("family.html", "family.png", "table.txt"))
    message = fails(capsys, *command, "--batch-size", 7)
    assert "has the results of a sweep with another batch_size; expected a folder for each" in message


def test_a_sweep_goes_on_where_it_was_stopped(gene, folder, tmp_path, capsys, monkeypatch, in_process):
    out, real = tmp_path / "out", sweep.run_sizes
    command = ["sweep", gene, "--data", folder, "--arch", "h1..2-l2", *NORM, "-o", out]

    def stopped(*args):
        yield next(real(*args))
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "run_sizes", stopped)
    assert run(*command) == 130
    assert f"what is finished is kept in {out}" in capsys.readouterr().err
    (first,) = (out / "sizes").iterdir()
    written = first.stat().st_mtime_ns
    monkeypatch.setattr(sweep, "run_sizes", real)
    assert run(*command) == 0
    said = capsys.readouterr().err
    assert (
        "1 of 2 sizes are in" in said and "1 size to run, 1 at a time" in said and first.stat().st_mtime_ns == written
    )
    assert len(json.loads((out / "results.json").read_text())["sizes"]) == 2


SWEEP = "import sys; from mmlearngene import cli; sys.exit(cli.main(sys.argv[1:]))"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are found through /proc")
def test_a_sweep_has_its_folder_for_itself_and_takes_its_processes_along(gene, folder, tmp_path, capsys, in_process):
    """And what a killed one has not come to is run by the next, which ends with the same weights, byte by byte."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = ["sweep", gene, "--data", folder, "--arch", "h1..2-l2", "--epochs", 1, *NORM, "--batch-size", 4, "-o"]
    (tmp_path / "sweep.py").write_text(f'if __name__ == "__main__":\n    {SWEEP}\n')
    process = Script(tmp_path / "sweep.py", *command, out)
    while not (weights := list((out / "weights").glob("*.safetensors"))):
        assert process.is_alive(), process.output()
        time.sleep(0.05)
    message = fails(capsys, *command, out)
    assert (
        f"{out} is in use by another run (process {process.pid} on" in message
        and "name another folder by -o" in message
    )
    started = below(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while left := running(started):
        assert time.monotonic() < end, f"{left} of {started} are left"
        time.sleep(0.1)
    (first,) = weights
    content = first.read_bytes()
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count())  # as in the sweep's processes: other numbers of threads round otherwise
    try:
        for target in (out, whole):
            assert run(*command, target) == 0
    finally:
        torch.set_num_threads(threads)
    assert first.read_bytes() == content
    names = sorted(path.name for path in (whole / "weights").glob("*.safetensors"))
    assert len(names) == 2
    assert all((out / "weights" / name).read_bytes() == (whole / "weights" / name).read_bytes() for name in names)


def test_an_interrupted_sweep_waits_for_no_size(gene, tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "wait", interrupted)
    sizes = [ViTSpec.parse(size, **DIGITS) for size in ("h1-l2", "h2-l2", "h3-l2")]
    with pytest.raises(KeyboardInterrupt):
        list(sweep.run_sizes(sizes, CONFIG, gene, 0, tmp_path, 1))
    assert not multiprocessing.active_children() and not any(tmp_path.iterdir())


def test_sizes_are_tuned_on_the_data_of_a_config(gene, tmp_path, capsys, monkeypatch, in_process):
    small = tmp_path / "small.py"
    small.write_text(
        f"_base_ = {str(CONFIG)!r}\ntrain_dataloader = dict(dataset=dict(indices=96))\n"
        "val_dataloader = dict(dataset=dict(indices=40))\noptim_wrapper = dict(optimizer=dict(lr=0.02))\n"
    )
    monkeypatch.chdir(ROOT)
    out = tmp_path / "out"
    assert run("sweep", gene, "--data", small, "--arch", "h2-l2", "--epochs", 1, "-o", out) == 0
    (row,) = json.loads((out / "results.json").read_text())["sizes"]
    assert row["tuned"] is not None and "weights/h2-l2.safetensors" in row["command"]
    images, labels = (torch.tensor(array[:40]) for array in load_split("test"))
    images = (images[:, None] - 77.65) / 95.9
    assert row["untuned"] == pytest.approx(accuracy(gene, "h2-l2", images, labels), abs=0.01)
    model = build(load(gene).expand("h2-l2")).eval()
    before = model.head.weight.clone()
    model.load_state_dict(load_state_dict(out / "weights" / "h2-l2.safetensors"))
    assert not torch.equal(before, model.head.weight)
    with torch.no_grad():
        tuned = 100 * float((model(images).argmax(1) == labels).float().mean())
    assert row["tuned"] == pytest.approx(tuned, abs=0.01) and row["tuned"] != row["untuned"]
    opened = {}
    exec(row["command"], opened)  # which makes the tuned size, not the untuned one
    assert torch.equal(opened["model"].head.weight, model.head.weight)
    told = timm.data.resolve_model_data_config(opened["model"])
    assert told["input_size"] == (1, 8, 8) and told["mean"] == pytest.approx((77.65 / 255,))
    printed = capsys.readouterr().out
    assert row["command"] in printed and "40 test images: one of them is 2.5 points" in printed
    steps = -(-96 // Config.fromfile(small).train_dataloader.batch_size)
    assert f"each size is tuned for {steps} steps: 1 x 96 images" in printed

    tuned_file, pre_fin = out / "weights" / "h2-l2.safetensors", tmp_path / "tuned.safetensors"
    hint = f"extract --method pre-fin --ancestry {tuned_file} -o FILE"  # its way to other layouts
    assert hint in fails(capsys, "expand", tuned_file, "--arch", "h2-l2", "-o", tmp_path / "no.safetensors")
    assert run("extract", "--method", "pre-fin", "--ancestry", tuned_file, "-o", pre_fin) == 0
    assert torch.equal(load(pre_fin).expand("h2-l2").stem()["head.weight"], model.head.weight)
    small.write_text(small.read_text().replace("indices=40", "indices=30"))
    capsys.readouterr()
    again = "sweep", gene, "--data", small, "--arch", "h1..2-l2", "--epochs", 1, "-o", out
    assert f"with what {small} said before it was changed; expected a folder for each" in fails(capsys, *again)
    assert "been tuned since: 1 epoch." in (out / "weights" / "h2-l2.safetensors.md").read_text()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--data", "{folder}/none"], "no such file"),
        (["--data", "{config}", "--lr", "1"], "--lr is for a folder"),
        (["--data", "{folder}", "--num-classes", "7"], "--num-classes 7, but"),
        (["--data", "{folder}", "--mean", "1", "2"], "--mean and --std: expected 1 numbers"),
        (["--data", "{config}", "--img-size", "16"], "gives images of (1, 8, 8), the descendants take (1, 16, 16)"),
        (["--data", "{folder}", "--params", "3"], "none of the 24 sizes fits"),
        (["--data", "{folder}", "--epochs", "-1"], "--epochs -1 must be 0 or more"),
        (["--data", "{folder}/0"], "has no folders; expected one for each class"),
    ],
)
def test_bad_input_is_told_before_any_run(gene, folder, tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.chdir(ROOT)
    options = [option.format(folder=folder, config=CONFIG) for option in options]
    assert message in fails(capsys, "sweep", gene, *options, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_head_that_would_guess_is_refused_unless_it_is_tuned(gene, tmp_path, capsys, in_process):
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "pets" / name / "1.png")
    message = fails(capsys, "sweep", gene, "--data", tmp_path / "pets", "-o", tmp_path / "out")
    assert "has 2 classes and the learngene 10: an untuned head would guess; expected --epochs 1 or more" in message
    for number in range(4):
        for name in ("cat", "dog"):
            Image.new("L", (8, 8), 50 * number).save(tmp_path / "pets" / name / f"{number}.png")
    out = tmp_path / "tuned"
    assert run("sweep", gene, "--data", tmp_path / "pets", "--arch", "h2-l2", "--epochs", 1, *NORM, "-o", out) == 0
    results = json.loads((out / "results.json").read_text())
    assert results["classes"] == ["cat", "dog"] and results["sizes"][0]["untuned"] is None
    assert "–" in (out / "table.txt").read_text() and "<td>–</td>" in (out / "family.html").read_text()
    assert "there is no score before tuning" in capsys.readouterr().out


def test_features_that_only_timm_has_are_swept_too(tmp_path):
    from mmlearngene.models.timm_classifier import any_classifier_cfg

    torch.manual_seed(0)
    features = dict(class_token=True, pool="cls", reg_tokens=2, qk_norm=True)
    learngene = LeTs("h1-l4", "h3-l8", groups=2, **DIGITS, **features)
    path = learngene.save(tmp_path / "gene.safetensors")
    spec = learngene.target("h2-l3")
    cfg = any_classifier_cfg(spec, init_cfg=dict(type="Learngene", checkpoint=str(path)))
    assert cfg["type"].endswith("TimmSpecClassifier")
    model = MODELS.build({**cfg, "_scope_": "mmpretrain"})
    model.init_weights()
    images = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), build(learngene.expand(spec)).eval()(images))


def test_a_trained_learngene_knows_how_its_images_were_normalised():
    from mmlearngene.engine.hooks.runner import normalisation_of
    from mmlearngene.models.timm_classifier import any_classifier_cfg

    cfg = any_classifier_cfg(ViTSpec(2, 2, **DIGITS), data_preprocessor=dict(mean=[51.0], std=[127.5]))
    found = normalisation_of(MODELS.build({**cfg, "_scope_": "mmpretrain"}))
    assert found == {"mean": [pytest.approx(0.2)], "std": [pytest.approx(0.5)]}
    cfg.pop("data_preprocessor")
    assert normalisation_of(MODELS.build({**cfg, "_scope_": "mmpretrain"})) == {}


def test_what_is_done_with_the_images_of_a_folder(tmp_path):
    """A red image with a blue frame: cropped, and its channels in the order that models take."""
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            image = Image.new("RGB", (32, 32), "blue")
            image.paste("red", (4, 4, 28, 28))
            image.save(tmp_path / split / name / "0.png")
    spec = ViTSpec(2, 2, **{**DIGITS, "in_channels": 3, "num_classes": 2})
    learngene = LeTs("h1-l4", "h3-l8", groups=2, **{**DIGITS, "in_channels": 3, "num_classes": 2})
    tuning = sweep.Tuning(epochs=20, workers=0)
    given = sweep.ImageSettings(mean=[0.5], std=[0.5], crop_pct=0.5)
    cfg, _ = sweep.folder_config(tmp_path, tmp_path / "out", learngene, spec, tuning, given)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        sample = DATASETS.build(cfg.val_dataloader.dataset)[0]
        preprocessor = MODELS.build({**cfg.data_preprocessor, "type": "ClsDataPreprocessor"})
    image = preprocessor({"inputs": [sample["inputs"]]})["inputs"][0]
    assert image.shape == (3, 8, 8)
    assert (image[0] > 0.9).all() and (image[1:] < -0.9).all()  # red first, and nothing of the frame
    linear, cosine = cfg.param_scheduler  # a tenth is warm-up
    assert (linear.type, linear.end, cosine.type, cosine.begin) == ("LinearLR", 2, "CosineAnnealingLR", 2)


# ---------------------------------------------------------------- folders


def make(root, *names):
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(5):
            (root / name / f"an image {number}.jpg").touch()


def test_folders_are_read_as_people_have_them(tmp_path):
    make(tmp_path / "both", "train/a", "train/b", "validation/a", "validation/b")
    found = read_folders(tmp_path / "both", tunes=True)
    assert (found.classes, len(found.train), len(found.val), found.note) == (["a", "b"], 10, 10, "")
    make(tmp_path / "one", "a", "b")
    assert len(read_folders(tmp_path / "one", tunes=False).val) == 10
    found = read_folders(tmp_path / "one", tunes=True)
    assert sorted(label for _, label in found.val) == [0, 1] and len(found.train) == 8
    assert not {path for path, _ in found.val} & {path for path, _ in found.train} and "20% of each class" in found.note
    write_list(tmp_path / "list.txt", found.val[:1], tmp_path / "one")
    assert (tmp_path / "list.txt").read_text().endswith(f".jpg {found.val[0][1]}\n")


def test_labels_are_those_of_the_learngenes_classes(tmp_path):
    make(tmp_path, "dog", "ant")
    found = read_folders(tmp_path, tunes=False, own_classes=["dog", "cat", "ant"])
    assert {(path.parent.name, label) for path, label in found.val} == {("dog", 0), ("ant", 2)}
    assert (found.classes, found.note) == (["dog", "cat", "ant"], "")
    found = read_folders(tmp_path, tunes=False, own_classes=["tench", "goldfish"])
    assert "taken in order: 'ant' for 'tench'" in found.note


def test_folders_that_cannot_be_meant_are_refused(tmp_path):
    make(tmp_path / "a", "train/a")
    make(tmp_path / "b", "train/a", "val/b")
    (tmp_path / "c" / "x").mkdir(parents=True)
    for name, tunes, message in (
        ("a", False, "and no val"),
        ("b", True, "different classes"),
        ("c", False, "no images"),
    ):
        with pytest.raises(LearngeneError, match=message):
            read_folders(tmp_path / name, tunes)
    for label in "ab":
        (tmp_path / "few" / label).mkdir(parents=True)
        Image.new("L", (2, 2)).save(tmp_path / "few" / label / "1.png")
    with pytest.raises(LearngeneError, match="2 images of 2 classes, too few to test on 20% of each: expected 5"):
        read_folders(tmp_path / "few", True)


# ---------------------------------------------------------------- the family


def family(tuned=False):
    members = []
    for heads, layers, score in ((3, 8, 96.5), (3, 4, 91.0), (2, 8, 97.0), (2, 4, 93.0)):
        spec = ViTSpec(heads, layers, **DIGITS)
        members.append(
            Member(
                str(spec), str(heads), layers, spec.num_params, spec.macs, heads == 3, 0.995, score,
                score + 1 if tuned else None, f"mmlearngene expand <gene> --arch {spec} -o {spec}.safetensors",
            )
        )  # fmt: skip
    return Family("A family & more", "top-1 accuracy in %", ["a <b>note</b>"], members)


def test_a_member_has_the_layers_of_all_stages():
    spec = ViTSpec.parse("h3,6,12,24-l2,2,6,2", embed_dims=96)
    member = Member.of(Cost(spec, 5, 7, False), inherited=1.0, untuned=1.0, tuned=None, command="")
    assert (member.size, member.heads, member.layers) == (str(spec), "3,6,12,24", 12)


def test_the_best_of_a_family():
    found = family()
    assert found.best().size == "h2-l8"
    params = {member.size: member.params for member in found.members}
    assert params["h2-l4"] < params["h2-l8"] and found.best(params["h2-l8"] - 1).size in ("h2-l4", "h3-l4")
    assert [member.size for member in found.front()] == ["h2-l4", "h2-l8"]
    starred = [line.split()[0] for line in table_of(found).splitlines() if line.endswith("*")]
    assert starred == ["h2-l8", "h2-l4"]
    same = [replace(member, untuned=90.0) for member in found.members]
    assert Family("", "", [], same).best().size == min(same, key=lambda member: member.params).size
    assert "98.00" in table_of(family(tuned=True))


class _Page(HTMLParser):
    """What a page shows without JavaScript, and every address in it."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.points, self.addresses, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.addresses += [attributes[name] for name in ("src", "href", "action", "xlink:href") if name in attributes]
        if "data-size" in attributes:
            self.points.append(attributes)
        if "data-params" in attributes:
            self.rows.append(attributes["id"])


@pytest.mark.parametrize("tuned", [False, True])
def test_the_page_has_every_size_and_asks_nobody(tuned):
    text = page_of(family(tuned))
    page = _Page(text)
    sizes = [member.size for member in family().members]
    assert page.rows == [point["data-size"] for point in page.points] == sizes
    assert all(point["tabindex"] == "0" and point["aria-label"].startswith(point["data-size"]) for point in page.points)
    assert page.addresses == ["data:,"] and "http" not in text and "@import" not in text and "url(" not in text
    assert "expand &lt;gene&gt; --arch h2-l8" in text and "a &lt;b&gt;note" in text
    assert "prefers-color-scheme: dark" in text and "table" in page.tags


def test_the_page_in_a_browser(tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium is installed")
    probe = """<script>
    const seen = {start: find("panel-size").textContent};
    document.querySelector("[data-size=h3-l4]").focus();
    seen.focused = find("panel-size").textContent; seen.command = find("panel-command").textContent;
    find("budget").value = 0; find("budget").dispatchEvent(new Event("input"));
    seen.cheap = find("panel-size").textContent; seen.over = document.querySelectorAll(".over").length;
    document.querySelector("[data-size=h3-l8]").dispatchEvent(new Event("mouseenter"));
    seen.hovered = find("panel-numbers").textContent;
    document.title = JSON.stringify(seen);
    </script></body>"""
    (tmp_path / "page.html").write_text(page_of(family()).replace("</body>", probe))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"file://{tmp_path / 'page.html'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    seen = json.loads(done.stdout.partition("<title>")[2].partition("</title>")[0])
    assert (seen["start"], seen["focused"], seen["cheap"], seen["over"]) == ("h2-l8", "h3-l4", "h2-l4", 3)
    assert seen["command"].startswith("mmlearngene expand") and "96.50" in seen["hovered"]


def test_the_figure_is_drawn(tmp_path):
    assert plot_family(family(), tmp_path / "family.png").stat().st_size > 5000


@pytest.mark.parametrize("best", [0, 11])
def test_no_words_of_the_figure_are_cut_off(best, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: drawn.append(figure))
    members = [
        Member(f"h{n}-l12", str(n), 12, n * n * 10**5, 1, True, 1.0, 90.0 if n == best + 1 else 50.0 + n, None, "")
        for n in range(1, 13)
    ]
    title = "12 sizes of the weight-selection learngene vit_small_patch14_dinov2_on_photos on my_pets, after 5 epochs"
    plot_family(Family(title, "top-1 accuracy in %", [], members), tmp_path / "family.png")
    (figure,) = drawn
    FigureCanvasAgg(figure).draw()
    (axis,), (legend,), frame = figure.axes, figure.legends, figure.bbox
    boxes = [text.get_window_extent() for text in (axis.title, *axis.texts, axis.xaxis.label, axis.yaxis.label)]
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and box.y1 <= frame.y1 for box in boxes)
    assert not any(box.overlaps(legend.get_window_extent()) for box in boxes)
    looks = {(line.get_color(), line.get_marker()) for line in axis.lines}
    assert len(looks) == 12  # no two heads look alike


def test_the_best_is_compared_with_chance_and_with_the_standard_error():
    def family(*scores):
        members = [
            Member(f"h{n}-l1", str(n), 1, n * 100, 1, True, 1.0, score, None, "") for n, score in enumerate(scores, 1)
        ]
        return Family("", "top-1 accuracy in %", [], members)

    # of 100 images in ten classes chance has a standard error of 3 points, 80 % one of 4
    assert family(14.0, 12.0).doubt(10, 100).startswith("no size is better than chance: 10 % of 10 classes, and 14 %")
    assert "within twice the standard error of 100 images (3 points); tune longer" in family(14.0).doubt(10, 100)
    assert family(14.0, 10.0).doubt(10, 10_000) == ""
    assert family(80.0, 73.0, 71.0).doubt(10, 100) == "as good within twice the standard error (4 points): h2-l1"
    assert family(80.0, 73.0, 71.0).doubt(10, 10_000) == ""


def test_int8_stands_beside_float32(gene, folder, tmp_path, in_process, capsys):
    pytest.importorskip("onnxruntime")
    command = ["sweep", gene, "--data", folder, *NORM, "--runtime", "onnxruntime", "--dtype", "int8", "--arch", "h2-l5"]
    assert run(*command, "--latency", "10s", "-o", tmp_path / "out") == 0
    (size,) = json.loads((tmp_path / "out" / "results.json").read_text())["sizes"]
    # by hand: the same quantisation of the same images
    learngene = load(gene)
    weights = learngene.expand("h2-l5")
    images, labels = [], []
    for label in sorted(path.name for path in folder.iterdir()):
        for path in sorted((folder / label).iterdir()):
            images.append(torch.tensor(np.array(Image.open(path)), dtype=torch.float32)[None])
            labels.append(int(label))
    images = (torch.stack(images) / 255 - NORM[1]) / NORM[3]
    data, _ = onnx_bytes(weights, {})
    session = session_of(quantised(data, [images[:64]]))
    found = session.run(None, {"images": images.numpy()})[0].argmax(1)
    expected = 100 * (found == np.array(labels)).mean()
    assert size["int8"] == pytest.approx(expected, abs=1.7)  # one image of 60, which two roundings may tell apart
    assert size["metrics"]["int8"]["accuracy/top1"] == size["int8"] and 0 <= size["int8"] <= 100
    header, *rows = (tmp_path / "out" / "table.txt").read_text().splitlines()
    assert header.split()[-2:] == ["int8", "best"] and rows
    capsys.readouterr()
    message = fails(capsys, *command, "--latency", "1us", "-o", tmp_path / "none")
    assert "none of 1 sizes keeps to 0.001 ms; the fastest is h2-l5 with" in message
    assert not (tmp_path / "none").exists()
