"""A run's folder: one run at a time, and one run's files at a time."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mmengine.config import Config
from mmengine.logging import print_log

from ...errors import LearngeneError
from ...io.paths import SUFFIX
from ..hooks.runner import resumes

_WRITTEN = ("epoch_*", "iter_*", "best_*")  # what a run writes of itself, with either suffix
_held: list[IO] = []  # a lock lasts as long as its file is open


def hold(work_dir: str | Path, flag: str = "--work-dir") -> None:
    """Claim a work dir until this process ends, in whatever way, and clear away what a killed one was writing.

    Args:
        work_dir: the folder; made where it is missing.
        flag: of the command line, that names another one.

    Raises:
        LearngeneError: another run holds it.
    """
    folder = Path(work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    file = open(folder / ".lock", "a+")  # noqa: SIM115  (it stays open)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of this process alone: data workers do not inherit it
    except OSError:
        file.seek(0)
        raise LearngeneError(
            f"{folder} is in use by another run ({file.read().strip()}); expected a folder of its own for each run. "
            f"What to do: wait for it or end it, or name another folder by {flag}"
        ) from None
    file.truncate(0)
    print(f"process {os.getpid()} on {socket.gethostname()}", file=file, flush=True)
    _held.append(file)
    for path in folder.glob(".*.tmp"):
        path.unlink()


def set_aside(cfg: Config) -> None:
    """Move the checkpoints and learngenes of an earlier run to a folder of their own, unless the run goes on with them.

    Raises:
        LearngeneError: the new run starts from one of them.
    """
    folder = Path(cfg.work_dir)
    if resumes(cfg.get("resume"), cfg.get("load_from"), cfg.work_dir):
        return
    names = [name + end for name in _WRITTEN for end in (".pth", SUFFIX)] + ["last_checkpoint"]
    old = [path for name in names for path in folder.glob(name)]
    if not old:
        return
    for text in _strings(cfg._cfg_dict):
        if any(Path(text).absolute() == path.absolute() for path in old):
            raise LearngeneError(
                f"{text} is in the work dir of the run that starts anew from it; expected another folder for the new "
                "run: name it by --work-dir (or go on with the old one: --resume)"
            )
    target = next(aside for n in range(1, 10**6) if not (aside := folder / f"earlier_{n}").exists())
    target.mkdir()
    for path in old:
        path.rename(target / path.name)
    print_log(f"a new run: the checkpoints and learngenes of an earlier one are in {target} now", logger="current")


def _strings(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list | tuple):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _strings(child)
