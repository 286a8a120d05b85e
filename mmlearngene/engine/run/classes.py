"""The number of classes is one setting: it follows from the training set, or from ``num_classes`` in the config."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import timm
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DATASETS, init_default_scope

from ...datasets.data_check import lazily, plain_datasets
from ...errors import LearngeneError
from ...utils.typed import settings_of

_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def follow_classes(cfg: Config) -> None:
    """Set every ``num_classes`` of the model, and of its data preprocessor, to the number that the training set has.

    A set says its classes itself (``metainfo``, the classes that its type is known to have, or a folder for each). A
    set that does not, such as one with an ``ann_file``, needs ``num_classes=10`` at the top of the config. Where no
    number is known the model keeps its own. A teacher with a checkpoint of its own follows too. A model that distils
    tokens (``features``) has no classes.

    Args:
        cfg: a whole config; changed in place.

    Raises:
        LearngeneError: two data sets, the option or the teacher disagree; names both.
    """
    if (cfg.get("model") or {}).get("features"):
        return
    init_default_scope(cfg.get("default_scope", "mmpretrain"))
    told = {"num_classes": cfg.num_classes} if cfg.get("num_classes") else {}
    for loader in _LOADERS:
        for dataset in plain_datasets((cfg.get(loader) or {}).get("dataset") or {}):
            if (count := _classes_of(dataset)) is not None:
                told.setdefault(f"{loader}.dataset", count)
    if not told:
        return
    (first, count), *others = told.items()
    for name, other in others:
        if other != count:
            raise LearngeneError(
                f"{name} has {other} classes and {first} {count}; expected one number. What to do: give both the same "
                "classes (one folder each, or metainfo.classes), or set num_classes"
            )
    for name in ("model", "data_preprocessor"):
        for holder, path in _holders(cfg.get(name) or {}, name):
            if holder.num_classes != count:
                print_log(f"{path}.num_classes: {holder.num_classes} -> {count}, as {first} has", logger="current")
                holder.num_classes = count
    for parent, key, path in settings_of(cfg._cfg_dict, ("TimmTeacher", "ClassifierTeacher")):
        _follow(parent[key], path, count, first)


def _classes_of(dataset: dict) -> int | None:
    """How many classes a data set has, by its config alone or by its folders; None where nobody can tell."""
    named = (dataset.get("metainfo") or {}).get("classes") or dataset.get("classes")
    if isinstance(named, str):  # a file, one class a line
        named = [line for line in Path(named).read_text().splitlines() if line.strip()]
    if named is None:
        kind = dataset["type"]
        with DATASETS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind) if isinstance(kind, str) else kind
        named = getattr(kind, "METAINFO", {}).get("classes")
    if named is None and not dataset.get("backend_args") and (built := lazily(dataset)) is not None:
        folder = Path(built.img_prefix)
        if built.with_label and not built.ann_file and folder.is_dir():
            named = [path for path in folder.iterdir() if path.is_dir()]
    return None if named is None else len(named)


def _holders(node: object, path: str) -> Iterator[tuple[dict, str]]:
    """Every dict below with a ``num_classes``; a teacher's classes are its own affair."""
    if isinstance(node, dict):
        if isinstance(node.get("num_classes"), int):
            yield node, path
        children = [(key, child) for key, child in node.items() if key != "teacher"]
    else:
        children = list(enumerate(node)) if isinstance(node, list | tuple) else []
    for key, child in children:
        yield from _holders(child, f"{path}.{key}")


def _follow(teacher: dict, path: str, count: int, first: str) -> None:
    if str(teacher.type).endswith("ClassifierTeacher"):
        config = teacher.config
        model = Config.fromfile(config).model if isinstance(config, str) else config
        own = (model.get("head") or {}).get("num_classes")
    elif teacher.get("checkpoint"):
        own = teacher.setdefault("num_classes", count)
    else:
        own = teacher.get("num_classes") or timm.get_pretrained_cfg(teacher.model_name).num_classes
    if own not in (None, count):
        raise LearngeneError(
            f"{path} has {own} classes and {first} {count}; a student learns the classes of its teacher. What to do: "
            f"name weights of a teacher of these classes by --cfg-options {path}.checkpoint=FILE"
        )
