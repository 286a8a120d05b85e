"""docs/speed.md says what the benchmarks' JSON files say."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_tables_are_those_of_the_results():
    script = runpy.run_path(str(ROOT / "tools" / "benchmarks" / "speed_page.py"))
    text = (ROOT / "docs" / "speed.md").read_text()
    assert script["page"](text) == text, "run python tools/benchmarks/speed_page.py"
    for name in ("steps", "pipeline", "communication", "family"):
        table = text.split(f"<!-- {name} -->")[1].split("<!-- end -->")[0]
        assert table.count("|---|") and table.count("\n|") > 3
