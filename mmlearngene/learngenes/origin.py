"""Where a method is defined: what a file says of one from another package, and how it becomes known."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

_OWN = __name__.partition(".")[0]


def is_own(cls: type) -> bool:
    """Whether a method is of this package."""
    return cls.__module__.partition(".")[0] == _OWN


def origin(cls: type) -> dict[str, str]:
    """What a file says of where its method is defined, if not here: ``method_module``, and ``method_package``."""
    if is_own(cls):
        return {}
    top = cls.__module__.partition(".")[0]
    packages = metadata.packages_distributions().get(top, [])
    found = {"method_module": cls.__module__}
    return {**found, "method_package": f"{packages[0]} {metadata.version(packages[0])}"} if packages else found


def how_to_get(provenance: Mapping) -> str:
    """In words, how the method of a file becomes known, from what :func:`origin` wrote into its provenance."""
    module, package = (provenance.get(f"method_{what}") for what in ("module", "package"))
    install = f"install {package}, or " if package else ""
    ways = "--import on the command line, custom_imports in a config, or an import in Python"
    return f"{install}import {module or 'the module that defines it'} first ({ways})"
