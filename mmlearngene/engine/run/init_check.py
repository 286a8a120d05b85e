"""Look at the learngenes and teachers of a config before anything else is done; a resumed run needs no learngene."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope

from ...errors import LearngeneError
from ...frameworks.modules import weightless
from ...io.gene import read
from ...learngenes.extracted import extraction_methods
from ...registry import MODELS
from ...use.initialize import initialize
from ...utils.typed import settings_of
from ..hooks.runner import resumes


def drop_learngenes_if_resumed(cfg: Config) -> None:
    """Take the learngenes out of the config of a run that is resumed: its checkpoint has all weights."""
    if resumes(cfg.get("resume"), cfg.get("load_from"), cfg.work_dir):
        for path in _drop_learngenes(cfg):
            print_log(f"the run is resumed: {path} is not used", logger="current")


def drop_learngenes_if_loaded(cfg: Config) -> None:
    """Take the learngenes out of the config of a test of a checkpoint; a ``FlexibleRunner`` would look for them."""
    if cfg.get("load_from"):
        _drop_learngenes(cfg)


def check_learngenes(cfg: Config) -> None:
    """Check the file of every ``init_cfg=dict(type="Learngene")`` and ``LearngeneInitHook`` in ``cfg``.

    Raises:
        LearngeneError: names the file, where the config has it, and what to do.
    """
    for parent, key, path in _learngenes(cfg._cfg_dict):
        checkpoint = parent[key].get("checkpoint")
        if checkpoint is None:
            raise LearngeneError(f"{path} names no file; expected {path}.checkpoint=FILE, a learngene's")
        try:
            read(checkpoint)
        except LearngeneError as error:
            raise LearngeneError(
                f"{error}. The config has it as {path}.checkpoint. What to do: {_maker(checkpoint)}name another file "
                f"by --cfg-options {path}.checkpoint=FILE, or start from scratch with {path}=None"
            ) from error


def check_starts(cfg: Config) -> None:
    """Check that every learngene of ``cfg`` expands to what it initialises, with models that have no weights.

    Raises:
        LearngeneError: names what differs or is out of range, and where the config has the learngene.
    """
    for parent, key, path in _learngenes(cfg._cfg_dict):
        options = dict(parent[key])
        checkpoint, hooked = options.pop("checkpoint"), options.pop("type").endswith("LearngeneInitHook")
        owner = cfg._cfg_dict
        for name in ["model"] if hooked else path.rpartition(".init_cfg")[0].split("."):
            owner = owner[int(name) if isinstance(owner, list | tuple) else name]
        with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
            # of an Aux-Net the learngene alone: its network may get its classifier from a distiller
            owner = owner.get("learngene", owner)
            model = weightless(lambda owner=owner: MODELS.build(copy.deepcopy(owner)))
        try:
            initialize(model, checkpoint, dry_run=True, **options)
        except LearngeneError as error:
            raise LearngeneError(f"{error}. The config has this learngene as {path}") from error


def check_teachers(cfg: Config) -> None:
    """Check that the weights of every teacher in ``cfg`` can be had, and that a cache is the teacher's and whole.

    Raises:
        LearngeneError: says what is missing, where it was looked for, and the option that names a file.
    """
    for parent, key, path in _teachers(cfg._cfg_dict):
        teacher = MODELS.get(f"mmlearngene.{str(parent[key].type).rpartition('.')[2]}")
        try:
            teacher.check(**{name: value for name, value in parent[key].items() if name != "type"})
        except LearngeneError as error:
            raise LearngeneError(
                f"{error}. The config has it as {path}: --cfg-options {path}.{_names(parent[key])}"
            ) from error


def _teachers(node: object) -> Iterator[tuple[dict | list, str | int, str]]:
    """All teachers below a node, those that are in a cache too."""
    kinds = ("TimmTeacher", "ClassifierTeacher", "HuggingFaceTeacher", "CachedTeacher")
    for parent, key, path in settings_of(node, kinds):
        yield parent, key, path
        yield from ((inner, name, f"{path}.{below}") for inner, name, below in _teachers(parent[key]))


def _names(teacher: dict) -> str:
    """What names the weights of a teacher, or the place of its outputs."""
    return "folder=FOLDER" if str(teacher.type).endswith(("HuggingFaceTeacher", "CachedTeacher")) else "checkpoint=FILE"


def drop_pretrained(cfg: Config) -> None:
    """Take ``pretrained`` out of a model that a learngene initialises, as mmsegmentation's base configs have it.

    mmsegmentation hands it to the backbone, and a mmpretrain backbone does not know it.
    """
    model = cfg.get("model") or {}
    if not any(_learngenes(dict(model=model, custom_hooks=cfg.get("custom_hooks") or []))):
        return
    for part, name in ((model, "model"), (model.get("backbone") or {}, "model.backbone")):
        if (old := part.pop("pretrained", None)) is not None:
            print_log(f"{name}.pretrained={old} is not used: a learngene initialises the model", logger="current")


def _drop_learngenes(cfg: Config) -> list[str]:
    """Take every learngene out of a config; where they were."""
    found = list(_learngenes(cfg._cfg_dict))
    for parent, key, _ in reversed(found):  # so positions in a list stay right
        del parent[key]
    return [path for _, _, path in found]


def _learngenes(node: object) -> Iterator[tuple[dict | list, str | int, str]]:
    return settings_of(node, ("Learngene", "LearngeneInitHook"))


def _maker(checkpoint: str) -> str:
    """What writes this file: the run of a config, configs/a/b.py in work_dirs/a/b, or the method of its name."""
    top, *below = Path(checkpoint).parent.parts or ("",)
    config = Path("configs", *below).with_suffix(".py")
    if top == "work_dirs" and config.is_file():
        return f"run tools/train.py {config} first, "
    method = Path(checkpoint).name.partition(".")[0]
    if method in extraction_methods():
        return f"run `mmlearngene extract --method {method} --ancestry MODEL -o {checkpoint}` first, "
    return ""
