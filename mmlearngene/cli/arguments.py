"""What several commands of ``mmlearngene`` take: options of methods, the output, and how their values are read."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LearngeneError
from ..io.paths import CHECKPOINT_SUFFIXES, PICKLED, card_path
from ..utils.tables import printable

if TYPE_CHECKING:
    from ..learngenes import Learngene

_EXPANSION = "expansion "  # before the names of flags that are options of a method's expansion


def add_expansion_options(parser: argparse.ArgumentParser) -> None:
    """A flag for each option that some method's expansion takes, as its signature says it."""
    from ..learngenes import LEARNGENES  # here, as it imports torch

    methods: dict[str, list[str]] = {}
    found = {}
    for method, cls in sorted(LEARNGENES.items()):
        for name, parameter in cls.expand_options().items():
            methods.setdefault(name, []).append(method)
            found.setdefault(name, parameter)
    for name, parameter in sorted(found.items()):
        kind, metavar = (numbers, "N,N,...") if "Sequence[int]" in str(parameter.annotation) else (value, "VALUE")
        default = "" if parameter.default is None else f" (default: {parameter.default})"
        flag = f"--{name.replace('_', '-')}"
        try:
            parser.add_argument(
                flag, dest=_EXPANSION + name, type=kind, metavar=metavar, help=f"{', '.join(methods[name])}{default}"
            )
        except argparse.ArgumentError:  # a flag of the command has this name: there is still --option
            continue


def given_expansion(arguments: argparse.Namespace) -> dict:
    """The options of expansions that were given, those of other methods too, which the expansion refuses by name."""
    flags = {name: value for name, value in vars(arguments).items() if name.startswith(_EXPANSION)}
    return {name.removeprefix(_EXPANSION): value for name, value in flags.items() if value is not None}


def add_output(parser: argparse.ArgumentParser, metavar: str, what: str) -> None:
    parser.add_argument("-o", "--output", required=True, type=Path, metavar=metavar, help=what)
    parser.add_argument("--force", action="store_true", help="overwrite the output if it exists")


def add_options(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--option",
        dest="options",
        action="append",
        default=[],
        type=option,
        metavar="KEY=VALUE",
        help=f"a further {what} option of the method, the value as JSON or text; may be repeated",
    )


def numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 0,1,2,2") from None


def option(text: str) -> tuple[str, object]:
    key, equals, text = text.partition("=")
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"{key + equals + text!r} is not KEY=VALUE")
    if key in ("self", "cls", "method", "ancestry", "like", "size", "head", "official", "head_dim"):
        raise argparse.ArgumentTypeError(f"{key!r} is no option of a method")
    return key, value(text)


def value(text: str) -> object:
    """JSON, or the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def expand_command(gene: str, size: object, fields: Mapping) -> str:
    """The command that writes a size, as a shell takes it; ``fields`` are flags and their values."""
    flags = [text for name, value in fields.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    return shlex.join(["mmlearngene", "expand", gene, "--arch", str(size), *flags, "-o", f"{size}.safetensors"])


def given(arguments: argparse.Namespace, *names: str) -> dict:
    """The named options that the user gave. The called function has its own defaults for all others."""
    return {name: found for name in names if (found := getattr(arguments, name)) is not None}


def check_output(arguments: argparse.Namespace) -> None:
    """Refuse, before any work, an output that would be lost or misread.

    Raises:
        LearngeneError: the output exists, is a folder, or has the suffix of another format.
    """
    path, layout = arguments.output, getattr(arguments, "layout", None)
    if layout == "hf":
        if path.suffix in (".safetensors", *CHECKPOINT_SUFFIXES) or path.is_file():
            raise LearngeneError(f"{path}: --layout hf writes a folder; name it {path.with_suffix('')}")
        check_free(arguments, path)
        if path.is_dir() and any(path.iterdir()) and not (path / "config.json").is_file():
            raise LearngeneError(f"{path} is a folder of something else, which --force does not remove; choose another")
        return
    if path.is_dir():
        raise LearngeneError(f"{path} is a folder; expected a file such as {path / 'gene.safetensors'}")
    if (layout == "onnx") != (path.suffix == ".onnx") and (layout == "onnx" or path.suffix == ".onnx"):
        wanted = path.with_suffix(".onnx") if layout == "onnx" else path.with_suffix(".safetensors")
        raise LearngeneError(f"{path}: --layout {layout} writes another kind of file; name it {wanted}")
    if path.suffix in CHECKPOINT_SUFFIXES and not (layout and path.suffix in PICKLED):
        raise LearngeneError(f"{path}: the output is a safetensors file; name it {path.with_suffix('.safetensors')}")
    check_free(arguments, path)
    if layout:
        check_free(arguments, card_path(path))


def check_free(arguments: argparse.Namespace, path: Path) -> None:
    """Refuse a path that is taken, unless ``--force`` was given, or cannot be written to.

    Raises:
        LearngeneError: it is.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise LearngeneError(f"{path} is neither file nor folder; choose another name")
    if (path.exists() or path.is_symlink()) and not arguments.force:
        raise LearngeneError(f"{path} exists; choose another name, or --force to overwrite it")


def save(learngene: Learngene, path: Path) -> None:
    """Write a learngene and say so."""
    learngene.save(path)
    counts = learngene.stored_params()
    words = f"{learngene.method} learngene, {counts['total']:,} parameters; expands to {learngene.span}"
    print(printable(f"wrote {path}: {words}"))
