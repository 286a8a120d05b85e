"""The error types a user of mmlearngene has to know, and how they suggest a way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class LearngeneError(ValueError):
    """Bad input: the message names the input, what was expected and the nearest valid choice."""


class NotShown(LearngeneError):
    """A checkpoint whose tensors are all understood, but do not say everything about the ViT."""


class RunStopped(RuntimeError):
    """A training that cannot go on: the message says why, what was kept and what to do."""


def cannot_write(path: str | Path, error: Exception) -> RunStopped:
    """What to say where a file of a run cannot be written."""
    reason = getattr(error, "strerror", None) or str(error)
    return RunStopped(f"{path} could not be written ({reason}). What to do: make room, then go on with --resume")


def check_choice(value: str, choices: Iterable[str], what: str) -> str:
    """Return ``value`` if it is one of ``choices``.

    Raises:
        LearngeneError: names ``what``, the valid choices and the closest one.
    """
    choices = sorted(choices)
    if value in choices:
        return value
    raise LearngeneError(
        f"{what} {value!r} is unknown; expected one of {', '.join(choices)}.{did_you_mean(value, choices)}"
    )


def did_you_mean(value: object, choices: Iterable[str]) -> str:
    """A question that names the nearest choice, for the end of a message; empty where none is near."""
    near = nearest(value, choices)
    return f" Did you mean {near[0]!r}?" if near else ""


def nearest(value: object, choices: Iterable[str], count: int = 1) -> list[str]:
    """At most so many of the choices that are spelled like a value, the nearest first."""
    return difflib.get_close_matches(str(value), list(choices), n=count)


def in_words(error: Exception) -> str:
    """An error of somebody else's code: its type, and the first line of what it says."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
