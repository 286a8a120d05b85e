"""The studies, their runs cut to a few steps."""

import json
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv import imread
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS
from mmpretrain.utils import register_all_modules
from PIL import Image

from mmlearngene.registry import MODELS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "studies"))

import cifar10  # noqa: E402
import cifar10_runs  # noqa: E402
import dense_cifar10  # noqa: E402
import elastic_digits  # noqa: E402
import grid_cifar10  # noqa: E402
import real_vit  # noqa: E402
from common import Results  # noqa: E402

SHORT = {
    "train_dataloader.dataset.indices": 64,
    "val_dataloader.dataset.indices": 16,
    "default_hooks.checkpoint.interval": 1,
    "visualizer": None,
}


def test_results_outlive_a_kill_and_processes_add_at_the_same_time(tmp_path):
    results = Results(tmp_path / "new" / "results.jsonl")
    assert results.all() == {} and results.get("a") is None
    results.add("a", dict(accuracy=0.1 + 0.2))
    results.add("b", dict(accuracy=1.0))
    results.add("a", dict(accuracy=1 / 3))
    assert results.all() == {"a": dict(accuracy=1 / 3), "b": dict(accuracy=1.0)}
    whole = results.path.read_bytes()
    for cut in range(1, 30):  # killed while it wrote the last line
        results.path.write_bytes(whole[:-cut])
        again = Results(results.path)
        assert again.get("a")["accuracy"] == (1 / 3 if cut == 1 else 0.1 + 0.2)
        again.add("c", dict(accuracy=2.0))
        assert again.all().keys() == {"a", "b", "c"} and again.get("a") == Results(results.path).get("a")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: Results(results.path).add(f"run {n}", dict(value=n, text="x" * 5000)), range(200)))
    found = results.all()
    assert [found[f"run {n}"]["value"] for n in range(200)] == list(range(200))


@pytest.fixture
def in_checkout(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def study(in_checkout, tmp_path, monkeypatch) -> elastic_digits.Study:
    ways = {way: (config, {**options, **SHORT}) for way, (config, options) in elastic_digits.WAYS.items()}
    monkeypatch.setattr(elastic_digits, "WAYS", ways)
    (tmp_path / "ancestry").mkdir()
    model = MODELS.build({**Config.fromfile("configs/demo/ancestry.py").model, "_scope_": "mmpretrain"})
    torch.save(dict(state_dict=model.state_dict()), tmp_path / elastic_digits.ANCESTRY)
    return elastic_digits.Study(tmp_path, epochs=3)


def test_the_study_of_the_digits(study, capsys):
    for way in elastic_digits.WAYS:
        result = study.run(way, seed=0)
        assert len(result["accuracy"]) == 20 and result["step_seconds"] > 0
        assert study.results.get(study.name(way, 0)) == result
        assert result["epochs"] == (study.epochs_at_equal_time() if "time" in way else 3)
    # what is finished is not done again; what was interrupted before its result was written has lost nothing
    file, name = study.results.path, study.name("paper", 0)
    finished, written = study.results.get(name), file.read_text()
    changed = {**finished, "accuracy": {"h3-l4": 1.5, "h4-l6": 2.5, "h6-l8": 3.5}}
    study.results.add(name, changed)
    assert study.run("paper", 0) == changed
    file.write_text("".join(line for line in written.splitlines(True) if name not in line))
    assert study.run("paper", 0) == finished
    study.report(3, study.root / "sizes.png")
    printed = capsys.readouterr().out
    assert all(f"| {way} | 1 |" in printed for way in elastic_digits.WAYS)
    assert (study.root / "sizes.png").stat().st_size > 1000


@pytest.fixture
def images(tmp_path) -> Path:
    """Random images of ten classes in the place of CIFAR-10, and one of CamVid's size for each of its sets."""
    rng = np.random.default_rng(0)

    def draw(path: Path, *shape: int, below: int = 256) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, below, shape, np.uint8)).save(path)

    for split in ("train", "test"):
        for i in range(20):
            draw(tmp_path / "images" / split / f"class{i % 10}" / f"{i}.png", 32, 32, 3)
    for split in ("train", "val", "test"):
        draw(tmp_path / "camvid_half" / "images" / split / "0.jpg", 180, 240, 3)
        draw(tmp_path / "camvid_half" / "annotations" / split / "0.png", 180, 240, below=11)
    return tmp_path


def test_the_study_on_cifar10(in_checkout, images, monkeypatch, capsys):
    small = dict(
        IMAGES=20,
        RATES=(1e-3, 2e-3),
        BATCH=10,
        SIZES=("h3-l4", "h4-l6"),
        ABLATED="lets-uniform",
        PARTS=("msa",),
        SHARES=(50,),
    )
    for name, value in small.items():
        monkeypatch.setattr(cifar10_runs, name, value)
    protocol = cifar10_runs.Protocol(1, 1, iterations=2, compared=("h4-l6",))
    study = cifar10_runs.Study(images, images, Results(images / "results.jsonl"), protocol)
    wanted = [
        cifar10_runs.Job("untuned", row) for row in ("lets", "lets-uniform", "lets-labels", "weight-selection-row")
    ]
    wanted += [
        cifar10_runs.Job("untuned", "cluster-origin", "h6-l6"),
        cifar10_runs.Job("tuned", "cluster-origin", "h6-l6", 0, 1),
        cifar10_runs.Job("untuned", "peg", cifar10_runs.HEADS[1]),
        cifar10_runs.Job("tuned", "peg", cifar10_runs.HEADS[1], 0, 1),
    ]
    wanted += [cifar10_runs.Job("cost", row) for row in ("lets", "lets-uniform", "own")]
    wanted += [cifar10_runs.Job("own"), *(cifar10_runs.Job("cost", size=size) for size in ("h3-l4", "h4-l6", "h6-l8"))]
    wanted += [cifar10_runs.Job("tuned", row, "h4-l6", 0, epochs=1) for row in ("lets", "lets-uniform", "pre-fin")]
    wanted += [cifar10_runs.Job("untuned", "lets-started"), cifar10_runs.own_job("own-started", 0)]
    wanted += [cifar10_runs.Job("untuned", "principal-elastic")]
    wanted += [cifar10_runs.Job("tuned", row, "h4-l6", 0, 5, share=50) for row in ("scratch", "weight-selection")]
    wanted += [cifar10_runs.Job("camvid", row, "h4-l6") for row in ("own", "scratch")]
    wanted += [cifar10_runs.Job("skipped", "msa", "h4-l6", 0, 1), cifar10_runs.Job("rates", "own", "h4-l6", 0, 1)]
    ordered = study.all_of(wanted)
    assert ordered[0] == cifar10_runs.PRETRAINED and len(ordered) == len(wanted) + 11
    results = {job.name: study.do(job) for job in ordered}
    assert len(results["untuned_weight-selection-row_s0"]["accuracy"]) == 2
    assert list(results["own_s0"]["accuracy"]) == ["h3-l4", "h4-l6"]
    assert list(results["untuned_cluster-origin_h6-l6_s0"]["accuracy"]) == ["h6-l6"]
    assert study.gene_file("cluster-merged", "", 0).exists() and not study.gene_file("cluster-origin", "", 0).exists()
    assert len(results["tuned_lets-uniform_h4-l6_e1_s0"]["accuracy"]) == 1
    assert len(results["tuned_scratch_h4-l6_e5_p50_s0"]["accuracy"]) == 5
    assert list(results["own_own-started_s0"]["accuracy"]) == ["h3-l4", "h4-l6"]
    assert results["gene_lets_s0"]["params"] < study.do(cifar10_runs.PRETRAINED)["params"]
    assert study.all_of(wanted) == []  # all is done
    study.gene_file("lets", "", 0).unlink()  # which its descendants need once more, but not their tests
    assert study.all_of([cifar10_runs.Job("untuned", "lets")]) == []
    redone = study.run([cifar10_runs.Job("tuned", "lets", "h4-l6", 0, 2)], processes=1)
    assert [job.kind for job, _ in redone] == ["gene", "tuned"]
    tables = cifar10.Tables(study, seeds=1)
    made = tables.all()
    assert all(table.count("\n") > 1 for table in made.values()) and len(made) == 12
    assert "| elastic LeTs, 1 epoch | " in made["family"] and "| without msa |" in made["parts"]
    assert made["heads"].splitlines()[2].startswith("| PEG |  | ") and "Cluster, eps 0.4, in the" in made["settings"]
    cifar10.draw(tables, images)
    assert (images / "family_cifar10.png").stat().st_size > 1000


def test_a_subset_of_packed_images_has_its_own_images(images):
    register_all_modules()
    whole = dict(type="PackedImages", data_root=str(images / "images" / "train"), pipeline=[])
    subset = DATASETS.build(dict(type="mmlearngene.BalancedSubset", dataset=whole, share=0.5, seed=1))
    assert len(subset) == 10
    for i in range(len(subset)):
        sample = subset[i]
        assert (
            np.array_equal(sample["img"], imread(sample["img_path"]))
            and f"class{sample['gt_label']}" in sample["img_path"]
        )


def test_students_side_by_side_do_not_see_each_other(in_checkout, images, monkeypatch):
    """Alone or beside another: the same steps from the same start."""
    monkeypatch.setattr(cifar10_runs, "IMAGES", 20)
    monkeypatch.setattr(cifar10_runs, "BATCH", 10)
    study = cifar10_runs.Study(images, images, Results(images / "results.jsonl"), cifar10_runs.Protocol(1, 1))
    study.do(cifar10_runs.PRETRAINED)
    start = MODELS.build(study._classifier("h4-l4")).state_dict()
    ends = []
    for sizes in (("h4-l4",), ("h4-l4", "h3-l4")):
        cfg = study._config(1)
        cfg.model = study._distiller(
            type="mmlearngene.SideBySide", students={size: study._classifier(size) for size in sizes}
        )
        cfg.update(work_dir=str(images / "-".join(sizes)), log_level="WARNING")
        runner = Runner.from_cfg(cfg)
        runner.model.init_weights()
        assert all(student.backbone.pos_embed.std() > 0.01 for student in runner.model.students.values())
        runner.model.students["h4-l4"].load_state_dict(start)
        runner.train()
        ends.append(runner.model.students["h4-l4"].state_dict())
    assert not torch.equal(ends[0]["head.fc.weight"], start["head.fc.weight"])
    for name, tensor in ends[0].items():
        torch.testing.assert_close(tensor, ends[1][name], rtol=0, atol=0)


def test_the_wider_grid(in_checkout, images, monkeypatch, capsys):
    for module in (cifar10_runs, grid_cifar10):
        monkeypatch.setattr(module, "IMAGES", 20)
        monkeypatch.setattr(module, "BATCH", 10)
    monkeypatch.setattr(grid_cifar10, "TEST_IMAGES", 20)
    for name in ("GRID", "OF_CONTROLS"):
        monkeypatch.setattr(grid_cifar10, name, ("h1-l2", "h6-l4", "h6-l8"))
    study = grid_cifar10.Study(images, images, Results(images / "results.jsonl"), cifar10_runs.Protocol(1, 2))
    trained, held = study.split()
    assert held == [0, 10] and sorted(trained + held) == list(range(20))
    wanted = [cifar10_runs.Job("grid", row) for row in ("pre-fin", "first-k", "weight-selection", "channels-trained")]
    wanted += [cifar10_runs.Job("short", size="h1-l2", epochs=3)]
    ordered = study.all_of(wanted)
    assert ordered[0] == cifar10_runs.PRETRAINED and len(ordered) == len(wanted) + 5
    for job in ordered:
        study.do(job)
    assert study.all_of(wanted) == []
    ancestry, first, narrow = (study.result(job) for job in (*wanted[:2], wanted[4]))
    assert list(first["accuracy"]) == ["h6-l4", "h6-l8"]
    # the ancestry as it is, also image by image
    assert first["right"]["h6-l8"] == ancestry["right"]["h6-l8"] and 0 <= narrow["accuracy"] <= 100
    verdicts = grid_cifar10.unpacked(first["right"]["h6-l4"], 20)
    assert 100 * verdicts.mean() == pytest.approx(first["accuracy"]["h6-l4"])
    tables = grid_cifar10.Tables(study)
    assert "| h6-l8 |" in tables.grid() and all(
        grid_cifar10.NAMES[row] in tables.grid() for row in ("first-k", "scratch")
    )
    other = grid_cifar10.Study(images / "other", images, Results(images / "other.jsonl"), study.protocol)
    other.adopt(images, study.results)
    assert other.finished(cifar10_runs.PRETRAINED) and other.all_of(wanted[:1]) == wanted[:1]
    grid_cifar10.draw(tables, cifar10.Tables(study, 1), images)
    assert (images / "grid_cifar10.png").stat().st_size > 1000


def test_differences_are_paired():
    one, other = np.arange(100) < 60, np.arange(100) < 50
    assert grid_cifar10.paired(one, other) == (10.0, pytest.approx(5.88, abs=0.01))
    assert grid_cifar10.paired(one, one) == (0.0, 0.0)
    assert grid_cifar10.paired(other, one)[0] == -10.0
    assert (grid_cifar10.unpacked(grid_cifar10.packed(one), 100) == one).all()


def test_the_study_of_tokens(in_checkout, images, monkeypatch, capsys):
    for module, name, value in (
        (cifar10_runs, "IMAGES", 20), (cifar10_runs, "BATCH", 10), (cifar10_runs, "SIZES", ("h3-l4",)),
        (dense_cifar10, "BANK_EVERY", 1), (dense_cifar10, "SIZES", ("h3-l4", "h4-l6")),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    results = Results(images / "results.jsonl")
    study = dense_cifar10.Study(images, images, results, cifar10_runs.Protocol(1, 1, iterations=2))
    wanted = [
        cifar10_runs.Job("judged", row)
        for row in ("ancestry", "tokens", "tokens-started", "own", "weight-selection", "scratch")
    ]
    wanted += [cifar10_runs.Job("seg_linear", "own", "h4-l6")]
    ordered = study.all_of(wanted)
    assert ordered[0] == cifar10_runs.PRETRAINED and len(ordered) == len(wanted) + 2
    results = {job.name: study.do(job) for job in ordered}
    for row, names in (("tokens", 4), ("tokens-started", 4), ("own", 4), ("weight-selection", 2), ("scratch", 2)):
        found = results[f"judged_{row}_s0"]["sizes"]
        assert list(found) == ["h3-l4", "h4-l6"] and all(len(scores) == names for scores in found.values())
    assert results["judged_ancestry_s0"]["sizes"]["h6-l8"].keys() == {"knn", "linear"}
    assert study.all_of(wanted) == []
    made = dense_cifar10.Tables(study, seeds=1).all()
    assert all(
        "| each size on its own, tokens, 1 epoch | 1 |" in made[name] for name in ("knn", "cosine_patches", "camvid")
    )


def test_the_study_on_camvid_is_reported_from_its_results(in_checkout, tmp_path, monkeypatch, capsys):
    """A run is tested once, and its line is all that table and curves are made of."""
    import camvid  # which reads configs of the checkout

    calls = []

    def train(config, folder, last, options, arch=None):
        log = folder / "20260101" / "vis_data" / "scalars.json"
        log.parent.mkdir(parents=True)
        log.write_text("".join(f'{{"step": {step}, "mIoU": {step / 10}}}\n' for step in (100, 200)))
        return folder / f"{last}.pth"

    def call(tool, config, *arguments, options):
        calls.append(tool)
        out = Path(arguments[arguments.index("--out") + 1])
        out.write_text(json.dumps(dict(mIoU=30.0 + len(calls), mAcc=40.0, aAcc=80.0)))

    monkeypatch.setattr(camvid, "train", train)
    monkeypatch.setattr(camvid, "call", call)
    study = camvid.Study(tmp_path, tmp_path, arms=("scratch", "lets"), seeds=2)
    for arm in study.arms:
        for seed in range(2):
            study.segment(arm, seed)
    assert list(study.results.all()) == ["scratch_seed0", "scratch_seed1", "lets_seed0", "lets_seed1"]
    assert study.results.get("lets_seed1") == dict(
        val_mIoU={"100": 10.0, "200": 20.0}, test=dict(mIoU=34.0, mAcc=40.0, aAcc=80.0)
    )
    shutil.rmtree(tmp_path / "lets_seed0")
    study.report()
    assert "| lets | 10.0 | 20.0 | 33.5 ± 0.5 | 40.0 ± 0.0 | 80.0 ± 0.0 |" in capsys.readouterr().out
    assert (tmp_path / "curves.png").stat().st_size > 1000
    monkeypatch.setattr(camvid, "train", lambda *args: tmp_path)
    study.segment("lets", 0)
    assert len(calls) == 4


@pytest.mark.parametrize("page", ["study_cifar10", "study_tokens", "principal"])
def test_the_tables_of_the_pages_are_those_of_the_results(page, tmp_path, monkeypatch, capsys):
    """Written by the commands that the pages name, from the results that are committed."""
    copy = tmp_path / f"{page}.md"
    text = (ROOT / "docs" / copy.name).read_text()
    copy.write_text(re.sub(r"(<!-- \w+ -->\n).*?(<!-- end -->)", r"\1\2", text, flags=re.DOTALL))
    results = ROOT / "studies" / "results" / "cifar10.jsonl"
    for script in (cifar10, dense_cifar10):
        command = ["study", "--report", "--results", results, "--figures", tmp_path, "--pages", copy]
        monkeypatch.setattr(sys, "argv", list(map(str, command)))
        script.main()
        assert (tmp_path / f"{'family' if script is cifar10 else 'dense'}_cifar10.png").stat().st_size > 1000
    if page == "study_cifar10":
        report = [
            "study",
            "--report",
            "--results",
            results.parent / "grid.jsonl",
            "--figures",
            tmp_path,
            "--pages",
            copy,
        ]
        monkeypatch.setattr(sys, "argv", list(map(str, report)))
        grid_cifar10.main()
    if page == "principal":
        report = ["study", "--report", "--results", results.parent / "real_vit.jsonl", "--pages", copy]
        monkeypatch.setattr(sys, "argv", list(map(str, report)))
        real_vit.main()
    assert copy.read_text() == text, (
        f"python studies/... --report --results studies/results/cifar10.jsonl --pages docs/{page}.md"
    )
    assert text.count("<!-- end -->") >= (2 if page == "principal" else 3)


def test_the_study_of_a_real_vit(tmp_path, monkeypatch, capsys):
    """Every method is extracted, judged at its sizes, and shown; what is there is not run again."""
    monkeypatch.setattr(real_vit, "judged", lambda source, size, args: 40.0 + len(size))
    monkeypatch.setattr(real_vit, "extract", lambda method, source, **options: _Extracted(method, options))
    for _ in range(2):
        options = ["--photos", tmp_path, "--work-dir", tmp_path / "work", "--results", tmp_path / "real.jsonl"]
        monkeypatch.setattr(sys, "argv", list(map(str, ["study", "vit", *options])))
        real_vit.main()
    found = Results(tmp_path / "real.jsonl").all()
    assert len((tmp_path / "real.jsonl").read_text().splitlines()) == len(found)
    assert {row for row in real_vit.METHODS if any(key.startswith(row) for key in found)} == set(real_vit.METHODS)
    assert "| weight selection |" in capsys.readouterr().out


class _Extracted:
    """What an extraction gives, as far as the study looks at it."""

    def __init__(self, method, options):
        assert (method == "principal") == ("data" in options or "basis" in options)
        self.provenance = {}

    def save(self, path):
        path.write_bytes(b"")
