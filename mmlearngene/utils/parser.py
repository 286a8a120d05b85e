"""The parser of all command lines here."""

from __future__ import annotations

import argparse
from typing import NoReturn

from .tables import one_line


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line; ``--help`` says the rest."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {one_line(message)}\n")
