"""``mmlearngene import``: a checkpoint of a paper's released code as a learngene file."""

from __future__ import annotations

import argparse

from ..learngenes.papers import READERS, read_official
from ..vit.spec import POOLS
from .arguments import add_options, add_output, check_output, given, save


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("official", metavar="OFFICIAL", help="the checkpoint: .pth, .safetensors or .npz")
    parser.add_argument("--method", required=True, choices=sorted(READERS), help="the paper's method")
    parser.add_argument("--head-dim", type=int, default=64, help="channels of a head (default: 64)")
    parser.add_argument("--pool", choices=POOLS, help="pooling order (default: what the released code trained with)")
    parser.add_argument("--norm-eps", type=float, help="epsilon of LayerNorm (default: as the released code)")
    add_options(parser, "import")
    add_output(parser, "GENE", "the learngene file to write")


def run(arguments: argparse.Namespace) -> None:
    """The command."""
    check_output(arguments)
    fields = {**given(arguments, "pool", "norm_eps"), **dict(arguments.options)}
    learngene = read_official(arguments.official, arguments.method, arguments.head_dim, **fields)
    save(learngene, arguments.output)
