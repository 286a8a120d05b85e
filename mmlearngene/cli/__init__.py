"""The console command ``mmlearngene``: import, extract, inspect and expand learngenes without writing Python."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import LearngeneError, in_words
from ..utils.parser import Parser
from ..utils.tables import one_line
from ..version import __version__


class Command(NamedTuple):
    """A command of the command line.

    Attributes:
        module: the module of this package with its ``add_arguments`` and ``run``, imported when the command is used.
        what: what it does.
        example: of its arguments.
    """

    module: str
    what: str
    example: str


COMMANDS = {
    "import": Command(
        "import_",
        "turn a checkpoint of a paper's released code into a learngene file",
        "checkpoint.pth --method lets -o gene.safetensors",
    ),
    "extract": Command(
        "extract",
        "take a learngene out of a trained ViT, the ancestry, for methods that need no training",
        "--method cluster --ancestry deit_small_patch16_224 --data photos/ -o gene.safetensors",
    ),
    "expand": Command(
        "expand",
        "write the weights of a plain ViT of the size you ask for",
        "gene.safetensors --arch h6-l12 --layout timm -o vit_h6_l12.safetensors",
    ),
    "plan": Command(
        "plan",
        "list the sizes that fit a budget, with your images and classes",
        "gene.safetensors --params 12M --img-size 288 --num-classes 37",
    ),
    "sweep": Command(
        "sweep",
        "initialise every size, evaluate it untuned, or after some epochs, and show the family",
        "gene.safetensors --data pets/ --params 12M --epochs 5 -o pets_family",
    ),
    "probe": Command(
        "probe",
        "judge features without training: nearest neighbours, a linear layer, patches, a figure",
        "gene.safetensors --sizes h6-l8 h6-l12 --bank data/train --queries data/val -o scores.json",
    ),
    "inspect": Command(
        "inspect",
        "show what is in a learngene file, or what a training config would make, and the sizes it expands to",
        "configs/lets/aux_deit_b.py --json",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 2 where the input is wrong, 130 where Ctrl-C stopped it."""
    early = Parser(prog="mmlearngene", add_help=False, allow_abbrev=False)
    early.add_argument("--import", dest="modules", action="append", default=[])
    words = sys.argv[1:] if argv is None else argv
    if any("\0" in word for word in words):  # no shell gives one, and no system call takes one
        print("mmlearngene: error: an argument has a NUL character; expected text without", file=sys.stderr)
        return 2
    early, argv = early.parse_known_args(words)
    try:
        _import_modules(early.modules)  # before the parser is made, whose flags and choices are the methods'
        arguments = _parser(argv).parse_args(argv)
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (LearngeneError, OSError) as error:
        print(f"mmlearngene: error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mmlearngene: stopped", file=sys.stderr)
        return 130
    return 0


def _import_modules(names: Sequence[str]) -> None:
    """Import the modules of methods from outside, from the folder that the command runs in, too.

    Raises:
        LearngeneError: one cannot be imported.
    """
    if names:
        sys.path.insert(0, "")
    for name in names:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # of somebody else's module, which may fail in any way
            hint = f"; did you mean --import {name.removesuffix('.py')}?" if name.endswith(".py") else ""
            raise LearngeneError(f"--import {name}: {in_words(error)}{hint}") from error


def _parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The parser of all commands; the one that the words name has its flags, or without words every one."""
    parser = Parser(
        prog="mmlearngene",
        description="A learngene is a compact file of weights. It initialises Vision Transformers of many sizes.",
        epilog="Start with `mmlearngene inspect GENE` to see what is in a file. `mmlearngene plan GENE --params 12M` "
        "lists the sizes that fit, and `mmlearngene expand GENE --arch h6-l12 -o vit.safetensors` gives the weights of "
        "one of them. `mmlearngene COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"mmlearngene {__version__}")
    parser.add_argument(
        "--import", metavar="MODULE", help="a module with a method of your own, which no installed package announces"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    chosen = list(COMMANDS) if words is None else [word for word in words if not word.startswith("-")][:1]
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=command.what,
            description=f"{command.what[0].upper()}{command.what[1:]}.",
            epilog=f"example:\n  mmlearngene {name} {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in chosen:
            module = importlib.import_module(f".{command.module}", __name__)
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    return parser
