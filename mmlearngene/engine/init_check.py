"""Look at the learngenes that a config starts from before anything else is done; a resumed run needs none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import find_latest_checkpoint

from .. import files
from ..errors import LearngeneError


def resumes(resume: bool, load_from: str | None, work_dir: str) -> bool:
    """Whether a run goes on from a checkpoint; ``--resume`` in an empty ``work_dir`` starts anew."""
    return bool(resume and (load_from or find_latest_checkpoint(work_dir)))


def drop_learngenes_if_resumed(cfg: Config) -> None:
    """Take the learngenes out of the config of a run that is resumed: its checkpoint has all weights."""
    if resumes(cfg.get("resume"), cfg.get("load_from"), cfg.work_dir):
        for parent, key, path in reversed(list(_learngenes(cfg._cfg_dict))):  # so positions in a list stay right
            del parent[key]
            print_log(f"the run is resumed: {path} is not used", logger="current")


def check_learngenes(cfg: Config) -> None:
    """Check the file of every ``init_cfg=dict(type="Learngene")`` and ``LearngeneInitHook`` in ``cfg``.

    Raises:
        LearngeneError: names the file, where the config has it, and what to do.
    """
    for parent, key, path in _learngenes(cfg._cfg_dict):
        checkpoint = parent[key].checkpoint
        try:
            files.read(checkpoint)
        except LearngeneError as error:
            raise LearngeneError(
                f"{error}. The config has it as {path}.checkpoint. What to do: {_maker(checkpoint)}name another file "
                f"by --cfg-options {path}.checkpoint=FILE, or start from scratch with {path}=None"
            ) from error


def _learngenes(node: object, path: str = "") -> Iterator[tuple[dict | list, str | int, str]]:
    """Where the settings of learngenes are, below ``node``: the dict or list that holds them, its key, and the path."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        here = f"{path}.{key}".lstrip(".")
        if isinstance(value, dict) and str(value.get("type")).rpartition(".")[2] in ("Learngene", "LearngeneInitHook"):
            yield node, key, here
        elif isinstance(value, dict | list | tuple):
            yield from _learngenes(value, here)


def _maker(checkpoint: str) -> str:
    """The training that writes this file, if it is one of the configs': runs of configs/a/b.py go to work_dirs/a/b."""
    top, *below = Path(checkpoint).parent.parts or ("",)
    config = Path("configs", *below).with_suffix(".py")
    return f"run tools/train.py {config} first, " if top == "work_dirs" and config.is_file() else ""
