"""The demo's configs, cut to a few steps, one after the other as the demo runs them; and the demo's report."""

import json
import sys
from pathlib import Path

import pytest
from mmengine.runner import Runner
from rich.console import Console

from mmlearngene import load
from mmlearngene.engine.run.device import adapt_to_device
from mmlearngene.recipes import read_sized

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import demo  # noqa: E402

SHORT = {
    "train_dataloader.dataset.indices": 64,
    "val_dataloader.dataset.indices": 16,
    "test_dataloader.dataset.indices": 16,
    "default_hooks.checkpoint.interval": 1,
    "log_level": "ERROR",
    "visualizer": None,
}
EPOCHS = {"train_cfg.max_epochs": 3, "train_cfg.val_interval": 3}  # one more than the warm-up
ITERATIONS = {"train_cfg.max_iters": 2, "train_cfg.val_interval": 2, "param_scheduler": []}


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("demo")


# one size and one config for all controls: two of them speak for the others
ALIKE = {f"{demo.COMPARED} {method}" for method in demo.EXTRACTED} - {
    f"{demo.COMPARED} {m}" for m in ("first-k", "mimetic")
}


@pytest.mark.parametrize(
    "job", [job for job in demo.jobs(Path("WORK"), everything=True) if job.name not in ALIKE], ids=lambda job: job.name
)
def test_every_run_of_the_demo(job, work_dir, monkeypatch):
    monkeypatch.chdir(ROOT)
    if job.method:
        demo.run(job, work_dir, _Ignore())
        assert load(demo.gene_file(work_dir, job.method)).method == job.method
        return
    cfg = read_sized(demo.CONFIGS / job.config, job.arch)
    options = {key: _moved(value, work_dir) for key, value in job.options.items()}
    cfg.merge_from_dict({**options, **SHORT, **(EPOCHS if "max_epochs" in cfg.train_cfg else ITERATIONS)})
    cfg.work_dir = str(work_dir / job.name.replace(" ", "_"))
    cfg.experiment_name = f"test {job.name}"
    runner = Runner.from_cfg(adapt_to_device(cfg))
    recorder = demo._Recorder(job.name, _Ignore())
    runner.register_hook(recorder)
    model = runner.train()
    if job.name in {demo.DISTILLED[method][0] for method in demo.MEASURED if method in demo.DISTILLED}:
        assert len(recorder.sizes) == 20
    if cfg.model.get("init_cfg"):
        assert model.load_report.share > 0 or "mimetic" in job.name
    checkpoint = next(Path(cfg.work_dir).glob("*_[23].pth"))
    # the names that later runs expect
    for wanted in ("epoch_12", "epoch_15", "epoch_20"):
        for file in Path(cfg.work_dir).glob("epoch_3.*"):
            file.with_name(file.name.replace("epoch_3", wanted)).write_bytes(file.read_bytes())
    assert checkpoint.stat().st_size > 0


def test_every_config_of_the_demo_is_run():
    used = {job.config for job in demo.jobs(Path(), everything=True)}
    names = {path.name for path in demo.CONFIGS.glob("*.py")}
    assert names - used == {"base.py", "distill.py", "training_images.py"}


def test_the_short_demo_is_a_part_of_the_whole_and_complete():
    """Its first result needs two runs; every run's needs are in it and come before it."""
    short, whole = demo.jobs(Path("WORK")), demo.jobs(Path("WORK"), everything=True)
    assert [job.name for job in short[:2]] == ["ancestry", "principal"] == [job.name for job in whole[:2]]
    assert all(job in whole for job in short) and len(short) < len(whole) / 2
    for at, job in enumerate(short):
        assert set(job.needs) <= {earlier.name for earlier in short[:at]}


@pytest.mark.parametrize("everything", [False, True])
def test_the_report(everything, tmp_path):
    history = [(0, 10.0), (1, 50.0), (5, 80.0), (6, 90.0)]
    sizes = {f"h{heads}-l{layers}": 10.0 * heads + layers for heads in (3, 4) for layers in (4, 6)}
    todo = demo.jobs(tmp_path, everything)
    results = {job.name: demo.Result(job.name, history, 1000, 1.0, 2.0, sizes) for job in todo}
    table = demo.rows(results)
    sizes = {row["size"] for row in table}
    assert sizes == {*demo.SIZES, demo.COMPARED} if everything else set(demo.SIZES)
    assert len(table) == len([job for job in todo if " " in job.name]) - 2
    assert table[0] == dict(
        size="h4-l6", init="scratch", params=1000, inherited=1.0, epoch_0=10.0, epoch_1=50.0, final=90.0, epochs=6
    )
    json.dumps(table)
    console = Console(record=True, width=120)
    demo.print_table(table, results, console)
    assert "h4-l6" in console.export_text()
    scores = demo.untuned(results)
    demo.print_sizes(scores, console)
    shown = [way for method, way in demo.MEASURED.items() if everything or method in demo.SHOWN]
    assert " / ".join(["46.0"] * len(shown)) in console.export_text() and list(scores) == shown
    demo.plot_sizes(scores, tmp_path / "sizes.png")
    assert (tmp_path / "sizes.png").stat().st_size > 1000
    demo.draw_curves(results, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


class _Ignore:
    def put(self, item):
        pass


def _moved(value, work_dir: Path):
    return value.replace("WORK", str(work_dir)) if isinstance(value, str) else value
