"""Config files of OpenMMLab: others' programs, which may fail in any way, and are refused in one line where they do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LearngeneError, check_choice, in_words, nearest
from .paths import existing

if TYPE_CHECKING:
    from mmengine import Config


def read_config(path: str | Path, import_custom_modules: bool = True) -> Config:
    """Read a config file.

    Args:
        path: the file, or ``package::name``, see :func:`config_file`.
        import_custom_modules: whether to import what its ``custom_imports`` name.

    Raises:
        LearngeneError: no such file, mmengine is not installed, or the config cannot be read: it fails, ends the
            process, or is its own base.
    """
    path = config_file(path)
    from mmengine import Config

    try:
        _check_bases(Config, str(path), ())
        cfg = Config.fromfile(path, import_custom_modules=import_custom_modules)
    except LearngeneError:
        raise
    except (Exception, SystemExit) as error:
        raise LearngeneError(f"{path} is not a readable config ({in_words(error)})") from error
    _leave_scope(cfg._cfg_dict)
    return cfg


def _leave_scope(node: object) -> None:
    """Take out the scope that mmengine puts into each part of a base that is named ``mmlearngene::...``.

    Configs of this package say ``mmlearngene.`` where a class is its own. All other names are of the config's
    ``default_scope``, and would not be found in that of this package.
    """
    if isinstance(node, dict):
        if node.get("_scope_") == "mmlearngene":
            del node["_scope_"]
        node = list(node.values())
    if isinstance(node, list | tuple):
        for each in node:
            _leave_scope(each)


def config_file(path: str | Path) -> Path:
    """A config's file: a path, or the name of an installed package's config, ``mmlearngene::lets/des.py``.

    Raises:
        LearngeneError: no such file or config, or mmengine is not installed.
    """
    is_name = "::" in str(path)
    path = path if is_name else existing(path)
    try:
        name_packages()
    except ImportError as error:
        raise LearngeneError(
            f"{path} is an OpenMMLab config, and mmengine is not installed: pip install mmlearngene[mm]"
        ) from error
    return packaged_config(str(path)) if is_name else path


def name_packages() -> None:
    """Let mmengine find configs of other packages, ``mmseg::...``, whichever build of a package is installed.

    mmengine knows a package by the name of its distribution: mmsegmentation for mmseg. Where another distribution has
    the package (onedl-mmsegmentation), mmengine finds it by its import name. This package is added to the table, so
    that ``mmlearngene::lets/des.py`` is found.
    """
    from mmengine import is_installed
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE.setdefault("mmlearngene", "mmlearngene")
    for module, package in MODULE2PACKAGE.items():
        if not is_installed(package) and is_installed(module):
            MODULE2PACKAGE[module] = module


def packaged_config(name: str) -> Path:
    """The file of a config of an installed package, ``mmlearngene::lets/des.py``.

    Raises:
        LearngeneError: the package is unknown, not installed, or has no such config; names the nearest.
    """
    from mmengine.config.utils import MODULE2PACKAGE
    from mmengine.utils import get_installed_path, is_installed

    module, _, inner = name.partition("::")
    check_choice(module, MODULE2PACKAGE, f"{name}: the package")
    if not is_installed(MODULE2PACKAGE[module]):
        raise LearngeneError(f"{name}: {module} is not installed; expected pip install mmlearngene[mm]")
    configs = Path(get_installed_path(MODULE2PACKAGE[module]), ".mim", "configs")
    if (configs / inner).is_file():
        return configs / inner
    near = nearest(inner, (str(path.relative_to(configs)) for path in configs.rglob("*.py")))
    hint = f"; did you mean {module}::{near[0]}?" if near else ""
    raise LearngeneError(f"{name}: {module} has no such config{hint}")


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
