"""Options from files, configs and the command line, held against the types that a signature says."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Container, Iterator, Mapping
from functools import lru_cache
from typing import Annotated, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from ..errors import LearngeneError

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Count = Annotated[int, Field(ge=1, le=1024)]  # of heads or of layers


def check_types(of: Callable, options: Mapping[str, object]) -> None:
    """Check options against the annotations of a function, or of a class and its constructor.

    Numbers are finite, and nothing is converted: ``True`` is no number and ``"1"`` is none. Names that the signature
    does not have are left to the call.

    Raises:
        LearngeneError: names the first option that is of another type, its value and the type.
    """
    try:
        _model(of)(**{name: _as_tuple(of, name, value) for name, value in options.items()})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)
        name = first[0]["loc"][0]
        # a union says one thing for each of its types
        reason = first[0]["msg"] if len({tuple(e["loc"][1:]) for e in first}) == 1 else f"expected {_words(of, name)}"
        raise LearngeneError(f"{name}={shortened(options[name])}: {reason[0].lower()}{reason[1:]}") from None


def settings_of(node: object, kinds: Container[str], path: str = "") -> Iterator[tuple[dict | list, str | int, str]]:
    """Where settings of these types are, below ``node``: the dict or list that holds them, its key, and the path."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        here = f"{path}.{key}".lstrip(".")
        if isinstance(value, dict) and str(value.get("type")).rpartition(".")[2] in kinds:
            yield node, key, here
        elif isinstance(value, dict | list | tuple):
            yield from settings_of(value, kinds, here)


def shortened(value: object, most: int = 80) -> str:
    """A value as text of bounded length."""
    text = str(value) if not isinstance(value, (list, tuple, dict)) or len(value) <= most else str(type(value))
    return text if len(text) <= most else f"{text[:most]} ..."


@lru_cache
def _model(of: Callable) -> type[BaseModel]:
    hints, signature = _hints(of), inspect.signature(of)
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    names = [p.name for p in signature.parameters.values() if p.kind not in kinds and p.name in hints]
    config = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True, protected_namespaces=())
    return create_model(of.__qualname__, __config__=config, **{name: (hints[name], None) for name in names})


@lru_cache
def _hints(of: Callable) -> dict[str, object]:
    """The annotations; none where somebody else's cannot be resolved."""
    annotated = of.__init__ if inspect.isclass(of) and not dataclasses.is_dataclass(of) else of
    try:
        return get_type_hints(annotated, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def _words(of: Callable, name: str) -> str:
    return str(inspect.signature(of).parameters[name].annotation)


def _as_tuple(of: Callable, name: str, value: object) -> object:
    """A list as a tuple where one is expected, which JSON does not have."""
    return tuple(value) if isinstance(value, list) and "tuple[" in str(_hints(of).get(name)) else value
