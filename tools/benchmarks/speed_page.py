"""Write the tables of docs/speed.md from the benchmarks' JSON files in tools/benchmarks/results.

    python tools/benchmarks/speed_page.py

``step_cost_*.json`` come from step_cost.py, one for each run, ``teacher_cache.json``, ``input_pipeline.json`` and
``family_cost.json`` from the scripts of these names, each by ``--out``.
"""

from __future__ import annotations

import json
from pathlib import Path

from mmlearngene.utils.tables import fill, markdown

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"
PAGE = ROOT / "docs" / "speed.md"


def steps() -> str:
    """Every measured kind of step."""
    rows = []
    for path in sorted(RESULTS.glob("step_cost_*.json")):
        run = json.loads(path.read_text())
        for measured in run["steps"]:
            where = (
                f"{measured['method']} {measured['size']}, {run['device']}, {run['precision']}, batch {run['batch']}"
            )
            where += ", to compare with compiled" if "compiled" in measured["kinds"] else ""
            for name, kind in measured["kinds"].items():
                step = "{:.2f} ({:.2f} to {:.2f})".format(*kind["step"])
                passes = "{:.2f}".format(kind["passes"][0])
                more = [f"{kind[what]:.2f}" if what in kind else "" for what in ("flops", "peak")]
                rows.append([where, name, step, passes, *more])
                where = ""
    return markdown(["run", "kind", "step", "forward and backward", "FLOPs", "peak memory"], rows)


def initialisation() -> str:
    """Of one descendant."""
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("step_cost_*.json"))]
    rows = [
        [f"`{run['descendant']}`", f"{run['s']:.2f}", f"{run['peak_mb']:.0f}"]
        for run in filter(None, (each.get("initialisation") for each in found))
    ]
    return markdown(["LeTs B to", "seconds", "MB at peak beside the model"], rows)


def cache() -> str:
    """An epoch with a teacher cache."""
    found = json.loads((RESULTS / "teacher_cache.json").read_text())
    rows = [
        [name, "{:.2f} ({:.2f} to {:.2f})".format(*found["ratios"][kind])]
        for kind, name in (("keep", "the run that keeps"), ("replay", "a run that replays"))
    ]
    where = f"{found['device']}, batch {found['batch']}, {found['rounds']} rounds of {found['images']} images"
    return markdown([f"TLEG S, {where}", "of an epoch without a cache"], rows)


def pipeline() -> str:
    """Cores that GPUs need."""
    found = json.loads((RESULTS / "input_pipeline.json").read_text())
    rows = [[name, f"{need['images_a_second']:,.0f}", f"{need['cores']:.0f}"] for name, need in found["needs"].items()]
    text = (
        f"JPEGs of {found['jpeg_bytes'] / 1e3:.0f} kB: {found['train']:.0f} images a second a core in training, "
        f"{found['val']:.0f} in validation ({found['date']})."
    )
    head = ["Aux-Net", f"images a second for {found['gpus']} GPUs at {found['tflops']:.0f} TFLOP/s", "cores"]
    return f"{text}\n\n{markdown(head, rows)}"


def communication() -> str:
    """Bytes a step."""
    found = json.loads((RESULTS / "family_cost.json").read_text())
    rows = [
        [
            f"`configs/{row['config']}.py`",
            f"{row['bytes'] / 1e6:.0f} MB",
            f"{row['plain_bytes'] / 1e6:.0f} MB",
            *(f"{1e3 * s['own']:.1f} ms ({1e3 * s['plain']:.1f})" for s in row["seconds"].values()),
        ]
        for row in found["communication"]
    ]
    columns = [f"{n} GPUs at {rate:.0f} GB/s" for n, rate in found["bus"].items()]
    return markdown(["Aux-Net", "gradients of a step", "plain ViT", *columns], rows)


def family() -> str:
    """The cost of N sizes."""
    found = json.loads((RESULTS / "family_cost.json").read_text())["family"]
    names = [name for name in found["eflops"][0] if name != "sizes"]
    rows = [[str(row["sizes"]), *(f"{row[name]:.0f}" for name in names)] for row in found["eflops"]]
    pays = ", ".join(f"{name} from {n} sizes on" for name, n in found["pays_from"].items())
    note = "These are costs at the papers' lengths, not equal accuracies."
    return f"{markdown(['sizes', *names], rows)}\n\nA learngene costs less than {pays}. {note}"


def page(text: str) -> str:
    """The page with its tables written anew."""
    tables = {make.__name__: make() for make in (steps, initialisation, cache, pipeline, communication, family)}
    for name in tables:
        if (count := text.count(f"<!-- {name} -->")) != 1:
            raise SystemExit(f"{PAGE} has {count} places for the table {name}, expected <!-- {name} --> <!-- end -->")
    return fill(text, tables)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
