"""The learngene that a config of an Aux-Net would train."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch

from ..errors import LearngeneError, in_words
from ..io.config_files import read_config
from ..learngenes import LEARNGENES, Learngene
from ..utils.typed import check_types, settings_of, shortened


def from_config(path: Path) -> Learngene:
    """The learngene that a config would train, without storage.

    Raises:
        LearngeneError: OpenMMLab is not installed, the config cannot be read, or it holds no learngene.
    """
    config = read_config(path, import_custom_modules=False).to_dict()
    found = next(settings_of(config, _classes()), None)
    if found is None:  # of a method that the config itself imports, perhaps
        if error := _custom_imports(config):
            raise LearngeneError(f"{path}: custom_imports: {error}; put the folder of your module on PYTHONPATH")
        found = next(settings_of(config, _classes()), None)
    if found is None:
        raise LearngeneError(
            f"{path} holds no learngene; expected a dict such as model=dict(learngene=dict(type='LeTs', ...)) with a "
            f"type among {', '.join(sorted(_classes()))}"
        )
    holder, key, _ = found
    settings = dict(holder[key])
    cls = _classes()[str(settings.pop("type")).rpartition(".")[2]]
    try:
        check_types(cls, settings)
        with torch.device("meta"):
            return cls(**settings)
    except TypeError as error:  # a setting too many, or too few
        raise LearngeneError(f"{path}: {error}") from error


def _classes() -> dict[str, type[Learngene]]:
    """The methods' classes by the names that configs use."""
    return {cls.__name__: cls for cls in LEARNGENES.values()}


def _custom_imports(config: dict) -> str | None:
    """Import a config's modules but those of this package, which have all been looked at; what fails, in words."""
    told = config.get("custom_imports") or {}
    modules = (told.get("imports") or []) if isinstance(told, dict) else told
    modules = [modules] if isinstance(modules, str) else modules
    if not isinstance(modules, list | tuple) or not all(isinstance(name, str) for name in modules):
        return f"{shortened(told)} names no modules; expected dict(imports=['my_module'])"
    for name in modules:
        try:
            if name.partition(".")[0] != "mmlearngene":
                importlib.import_module(name)
        except (Exception, SystemExit) as error:  # of somebody else's module, which may fail in any way
            return in_words(error)
    return None
