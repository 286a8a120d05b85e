"""Paths of files: what their suffixes mean, and whether a file is there."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import LearngeneError, nearest

SUFFIX = ".learngene.safetensors"
PICKLED = (".pth", ".pt")
CHECKPOINT_SUFFIXES = (*PICKLED, ".bin", ".npz")
CONFIG_SUFFIXES = (".py", ".json", ".yml", ".yaml")


def existing(path: str | Path) -> Path:
    """``path``, if a file is there.

    Raises:
        LearngeneError: no such file; the nearest name in the same folder is suggested.
    """
    path = Path(os.path.expanduser(path))
    if path.is_file():
        return path
    siblings = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
    near = nearest(path.name, siblings)
    hint = f"; did you mean {path.parent / near[0]}?" if near else ""
    raise LearngeneError(f"no such file: {path}{hint}")


def card_path(path: Path) -> Path:
    """Where the model card of a file goes."""
    return path.with_name(f"{path.name}.md")
