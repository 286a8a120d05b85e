"""The study of elastic training, its runs cut to a few steps."""

import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmlearngene.registry import MODELS

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools" / "studies"))

import elastic_digits  # noqa: E402

SHORT = {
    "train_dataloader.dataset.indices": 64,
    "val_dataloader.dataset.indices": 16,
    "default_hooks.checkpoint.interval": 1,
    "visualizer": None,
}


@pytest.fixture
def study(tmp_path, monkeypatch) -> elastic_digits.Study:
    monkeypatch.chdir(ROOT)
    ways = {way: (config, {**options, **SHORT}) for way, (config, options) in elastic_digits.WAYS.items()}
    monkeypatch.setattr(elastic_digits, "WAYS", ways)
    monkeypatch.setattr(Config, "pretty_text", property(repr))  # laying the text out takes longer than the training
    monkeypatch.setattr(Runner, "_log_env", lambda *_: None)
    (tmp_path / "ancestry").mkdir()
    model = MODELS.build({**Config.fromfile("configs/demo/ancestry.py").model, "_scope_": "mmpretrain"})
    torch.save(dict(state_dict=model.state_dict()), tmp_path / elastic_digits.ANCESTRY)
    return elastic_digits.Study(tmp_path, epochs=3)


def test_the_study_of_the_digits(study, capsys):
    for way in elastic_digits.WAYS:
        result = study.run(way, seed=0)
        assert len(result["accuracy"]) == 20 and result["step_seconds"] > 0
        assert json.loads(study.file(way, 0).read_text()) == result
        assert result["epochs"] == (study.epochs_at_equal_time() if "time" in way else 3)
    # what is finished is not done again; what was interrupted before its result was written has lost nothing
    file = study.file("paper", 0)
    changed = {**json.loads(file.read_text()), "accuracy": {"h3-l4": 1.5, "h4-l6": 2.5, "h6-l8": 3.5}}
    finished = json.loads(file.read_text())
    file.write_text(json.dumps(changed))
    assert study.run("paper", 0) == changed
    file.unlink()
    assert study.run("paper", 0) == finished
    study.report(3, study.root / "sizes.png")
    printed = capsys.readouterr().out
    assert all(f"| {way} | 1 |" in printed for way in elastic_digits.WAYS)
    assert (study.root / "sizes.png").stat().st_size > 1000
