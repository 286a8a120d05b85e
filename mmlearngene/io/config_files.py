"""Config files of OpenMMLab: others' programs, which may fail in any way, and are refused in one line where they do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LearngeneError, in_words
from .paths import existing

if TYPE_CHECKING:
    from mmengine import Config


def read_config(path: str | Path, import_custom_modules: bool = True) -> Config:
    """Read a config file.

    Args:
        path: the file.
        import_custom_modules: whether to import what its ``custom_imports`` name.

    Raises:
        LearngeneError: no such file, mmengine is not installed, or the config cannot be read: it fails, ends the
            process, or is its own base.
    """
    path = existing(path)
    try:
        from mmengine import Config
    except ImportError as error:
        raise LearngeneError(
            f"{path} is an OpenMMLab config, and mmengine is not installed: pip install mmlearngene[mm]"
        ) from error
    try:
        _check_bases(Config, str(path), ())
        return Config.fromfile(path, import_custom_modules=import_custom_modules)
    except LearngeneError:
        raise
    except (Exception, SystemExit) as error:
        raise LearngeneError(f"{path} is not a readable config ({in_words(error)})") from error


def _check_bases(cls: type[Config], path: str, above: tuple[str, ...]) -> None:
    """See that no config is its own base, which mmengine would follow until Python gives up.

    Raises:
        LearngeneError: one is; names the files on the way.
    """
    here = os.path.realpath(path)
    if here in above:
        way = " -> ".join(Path(each).name for each in (*above[above.index(here) :], here))
        raise LearngeneError(f"{above[0]} is not a readable config: {way} is its own _base_")
    for base in cls._get_base_files(path) if os.path.isfile(path) else []:
        if "::" not in base:  # of another package
            _check_bases(cls, cls._get_cfg_path(base, path)[0], (*above, here))
