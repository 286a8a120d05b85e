"""The methods by name: those of this package, and those of others, found through their entry points."""

from __future__ import annotations

import importlib
import inspect
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from typing import TYPE_CHECKING

from ..errors import LearngeneError, check_choice, in_words
from .origin import is_own

if TYPE_CHECKING:
    from .base import Learngene

GROUP = "mmlearngene.learngenes"
OWN = ("cluster", "controls", "lets", "peg", "principal", "sws", "tleg")  # the modules of this package's methods
_LOGGER = logging.getLogger("mmlearngene")
_RESERVED = ("method", "ancestry", "like", "size", "head")  # arguments of extract and expand, which options would hide


class Methods(Mapping[str, "type[Learngene]"]):
    """Method name -> class. The first look at it imports the methods of this package and what others offer.

    Attributes:
        failed: name of an entry point that could not be imported -> why, in one line.
    """

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}
        self._classes: dict[str, type[Learngene]] = {}
        self._watchers: list[Callable[[type[Learngene]], object]] = []
        self._looked = False

    def add(self, cls: type[Learngene]) -> None:
        """Make a class known; see :func:`register`."""
        check_class(cls)
        if not is_own(cls):
            self._import_own()  # whose names come first
        for other in self._classes.values():
            if _path(other) == _path(cls):
                continue  # the same class, its module read anew
            for what in ("method", "__name__"):
                if (name := getattr(cls, what)) == getattr(other, what):
                    raise LearngeneError(f"{_path(cls)}: the name {name!r} is taken by {_path(other)}; choose another")
        self._classes[cls.method] = cls
        for watcher in self._watchers:
            watcher(cls)

    def watch(self, function: Callable[[type[Learngene]], object]) -> None:
        """Call ``function`` with every class that is known, and with every one that will be."""
        self._look()
        self._watchers.append(function)
        for cls in self._classes.values():
            function(cls)

    @staticmethod
    def _import_own() -> None:
        for module in OWN:
            importlib.import_module(f".{module}", __package__)

    def _look(self) -> None:
        if self._looked:
            return
        self._import_own()
        self._looked = True
        for entry in metadata.entry_points(group=GROUP):
            try:
                found = entry.load()
                if isinstance(found, type) and found not in self._classes.values():
                    self.add(found)
            except Exception as error:  # of somebody else's module, which may fail in any way
                self.failed[entry.name] = (
                    f"the learngene method {entry.name!r} of {_dist(entry)} cannot be used: importing {entry.value} "
                    f"gave {in_words(error)}"
                )
                _LOGGER.warning(self.failed[entry.name])

    def __getitem__(self, name: str) -> type[Learngene]:
        self._look()
        return self._classes[name]

    def __iter__(self) -> Iterator[str]:
        self._look()
        return iter(self._classes)

    def __len__(self) -> int:
        self._look()
        return len(self._classes)


LEARNGENES = Methods()


def register(cls: type[Learngene]) -> type[Learngene]:
    """Class decorator: make a method known by its ``method`` name to files, configs and the command line.

    Raises:
        LearngeneError: see :func:`check_class`; or another class has its name.
    """
    LEARNGENES.add(cls)
    return cls


def check_class(cls: type[Learngene]) -> None:
    """See that files can name and rebuild a method.

    Raises:
        LearngeneError: it has no usable ``method`` name, or its constructor or options are not such as a file needs.
    """
    name = getattr(cls, "method", None)
    if not isinstance(name, str) or not re.fullmatch("[a-z0-9][a-z0-9_.-]{0,99}", name):
        raise LearngeneError(f"{_path(cls)}: method={name!r}; expected a name such as 'my-method', in small letters")
    parameters = dict(list(inspect.signature(cls.__init__).parameters.items())[1:])  # all after self
    if missing := [size for size in ("learngene", "aux") if size not in parameters]:
        raise LearngeneError(
            f"{_path(cls)}: its constructor takes no {missing[0]!r}; expected (learngene=..., aux=..., options)"
        )
    if wrong := [
        p for p in parameters.values() if p.kind in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY) and p.name != "self"
    ]:
        raise LearngeneError(f"{_path(cls)}: a file gives the constructor's options by name, and {wrong[0]} has none")
    if wrong := [name for name in (*cls.options(), *cls.expand_options()) if name in _RESERVED]:
        raise LearngeneError(f"{_path(cls)}: an option cannot be called {wrong[0]!r}; nor {', '.join(_RESERVED)}")


def find_method(name: str, what: str, among: Iterable[str] | None = None) -> type[Learngene]:
    """The class of a method.

    Args:
        name: the method's name.
        what: what names it, for messages.
        among: the names that are possible here; all when omitted.

    Raises:
        LearngeneError: no such method, or its package cannot be imported.
    """
    if name not in LEARNGENES and name in LEARNGENES.failed:
        raise LearngeneError(f"{what} {name!r}: {LEARNGENES.failed[name]}")
    return LEARNGENES[check_choice(name, LEARNGENES if among is None else among, what)]


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _dist(entry: metadata.EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an installed package"
