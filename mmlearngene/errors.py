"""The one error type a user of mmlearngene has to know, and how it suggests a way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LearngeneError(ValueError):
    """Bad input: the message names the input, what was expected and the nearest valid choice."""


def check_choice(value: str, choices: Iterable[str], what: str) -> str:
    """Return ``value`` if it is one of ``choices``.

    Raises:
        LearngeneError: names ``what``, the valid choices and the closest one.
    """
    choices = sorted(choices)
    if value in choices:
        return value
    near = difflib.get_close_matches(str(value), choices, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise LearngeneError(f"{what} {value!r} is unknown; expected one of {', '.join(choices)}.{hint}")
