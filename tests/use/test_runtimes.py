"""Latency in the runtime that will run a size."""

import json
from importlib import util

import pytest
import torch

from mmlearngene import LearngeneError
from mmlearngene.cli import main
from mmlearngene.learngenes.lets import LeTs
from mmlearngene.use import latency
from mmlearngene.use.latency import check_runtime, measured_in
from mmlearngene.use.planning import plan

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def gene(tmp_path_factory):
    torch.manual_seed(0)
    lets = LeTs("h1-l2", "h2-l4", head_dim=32, img_size=32, num_classes=10, groups=2, rows=1)
    return lets.save(tmp_path_factory.mktemp("gene") / "gene.safetensors")


def test_the_runtime_runs_the_exported_file(gene, monkeypatch, capsys):
    ran = []
    runner = latency._runner
    monkeypatch.setattr(latency, "_runner", lambda *a: ran.append((a[0], len(a[1]))) or runner(*a))
    told = {}
    for dtype in ("fp32", "int8"):
        command = ["plan", str(gene), "--arch", "h2-l2", "--runtime", "onnxruntime", "--dtype", dtype, "--json"]
        assert main(command) == 0
        (told[dtype],) = json.loads(capsys.readouterr().out)["sizes"]
    assert [name for name, _ in ran] == ["onnxruntime"] * 2
    assert all(size["latency"] > 0 for size in told.values())
    assert [told[dtype]["memory"] for dtype in ("fp32", "int8")] == [size for _, size in ran]
    assert told["int8"]["memory"] < 0.6 * told["fp32"]["memory"]


def test_the_text_says_how_it_was_measured(gene, capsys):
    assert main(["plan", str(gene), "--arch", "h1-l2", "--latency", "10s", "--runtime", "onnxruntime"]) == 0
    assert (
        "measured: batches of 1 in float32 with onnxruntime on the CPU; MB of the ONNX file" in capsys.readouterr().out
    )


@pytest.mark.skipif(util.find_spec("openvino") is None, reason="openvino is not installed")
@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_openvino(gene, dtype):
    from mmlearngene import load

    (cost,) = plan(load(gene), ["h2-l2"])
    assert measured_in(cost, "openvino", dtype, 2).latency > 0


def test_what_is_not_there_is_told_before_any_work(gene, monkeypatch, capsys):
    monkeypatch.setattr(latency, "find_spec", lambda name: None if name == "openvino" else util.find_spec(name))
    assert main(["plan", str(gene), "--runtime", "openvino"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("--runtime openvino needs openvino, which is not installed: pip install openvino")
    with pytest.raises(LearngeneError, match="--dtype int8 is of --runtime onnxruntime or openvino"):
        check_runtime("torch", "int8")
    assert main(["plan", str(gene), "--dtype", "int8"]) == 2
