"""Tables: aligned plain text, for reports and the command line, and Markdown, for pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence


def printable(text: str) -> str:
    """A text with what moves a terminal's cursor or colours it written out (``\\x1b``)."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def one_line(message: object, most: int = 1000) -> str:
    """A message, ours or another library's, as one line of bounded length that a terminal shows as it is."""
    text = printable(" ".join(str(message)[: 10 * most].split()))
    return text if len(text) <= most else f"{text[:most]} ..."


def table(rows: Sequence[Sequence[str]], align: str) -> str:
    """Rows of text in aligned columns, two spaces apart.

    Args:
        rows: the cells, header first; every row as long as ``align``.
        align: ``<`` (left) or ``>`` (right) for each column.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(align))]
    lines = ("  ".join(f"{c:{a}{w}}" for c, a, w in zip(row, align, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def markdown(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown; empty without rows."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([f"| {' | '.join(map(str, header))} |", f"|{'---|' * len(header)}", *lines]) if lines else ""


def fill(page: str, texts: Mapping[str, str]) -> str:
    """A page whose parts between ``<!-- NAME -->`` and ``<!-- end -->`` are ``texts``; others stay as they are."""

    def written(match: re.Match) -> str:
        return f"<!-- {match[1]} -->\n{texts[match[1]]}\n<!-- end -->" if match[1] in texts else match[0]

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", written, page, flags=re.DOTALL)
