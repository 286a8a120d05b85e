"""docs/speed.md says what the benchmarks' JSON files say."""

import runpy
from pathlib import Path

from mmlearngene.utils.tables import fill, markdown

ROOT = Path(__file__).parents[1]


def test_the_tables_are_those_of_the_results():
    script = runpy.run_path(str(ROOT / "tools" / "benchmarks" / "speed_page.py"))
    text = (ROOT / "docs" / "speed.md").read_text()
    assert script["page"](text) == text, "run python tools/benchmarks/speed_page.py"
    for name in ("steps", "initialisation", "cache", "pipeline", "communication", "family"):
        table = text.split(f"<!-- {name} -->")[1].split("<!-- end -->")[0]
        assert table.count("|---|") and table.count("\n|") >= 3


def test_a_page_is_filled_where_it_has_a_place():
    page = "a\n\n<!-- one -->\nold\n\nlines\n<!-- end -->\nb\n<!-- other -->\nkept\n<!-- end -->\n"
    table = markdown(["x", "y"], [[1, "2"]])
    assert table == "| x | y |\n|---|---|\n| 1 | 2 |" and markdown(["x"], []) == ""
    filled = fill(page, {"one": table, "unused": "no"})
    assert filled == page.replace("old\n\nlines", table)
    assert fill(filled, {"one": table}) == filled
