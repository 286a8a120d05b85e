"""The notebook runs from beginning to end, in a trial of seconds; the committed one has its outputs, and small ones."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "notebooks" / "digits.ipynb"


def test_the_digits_run(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("mmpretrain")
    monkeypatch.setenv("SHORT", "1")
    monkeypatch.setenv("WORK", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()
    printed = "".join(out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", []))
    assert printed.count("% untuned") == 3 and "100.0% of the backbone inherited" in printed


def test_the_committed_outputs_are_those_of_a_whole_run_and_small():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    assert all(out.output_type == "stream" for out in outputs) and "% untuned" in str(outputs)
    assert NOTEBOOK.stat().st_size < 20_000
