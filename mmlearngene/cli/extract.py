"""``mmlearngene extract``: a learngene out of a trained ViT."""

from __future__ import annotations

import argparse

from ..learngenes.extracted import extraction_methods
from ..use.extract import extract
from .arguments import add_options, add_output, check_output, given, save


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument(
        "--method", required=True, help=f"one of: {', '.join(extraction_methods()) or 'none installed'}"
    )
    parser.add_argument(
        "--ancestry", required=True, metavar="CKPT_OR_FOLDER_OR_NAME",
        help="a checkpoint, a Hugging Face folder, or a timm model",
    )  # fmt: skip
    parser.add_argument(
        "--like", metavar="NAME_OR_FOLDER_OR_CONFIG",
        help="what a checkpoint is like, for all that its tensors do not show: a timm model, a Hugging Face folder, or "
        "an OpenMMLab config",
    )  # fmt: skip
    parser.add_argument(
        "--path", metavar="NAME", help="which ViT of a file that holds several: the start of its names, or its entry"
    )
    parser.add_argument("--num-heads", type=int, metavar="N", help="heads of a layer, which a checkpoint does not show")
    parser.add_argument(
        "--data", metavar="CONFIG_OR_FOLDER",
        help="images without labels, for principal and cluster; noise for random numbers instead",
    )  # fmt: skip
    parser.add_argument(
        "--images", dest="num_images", type=int, metavar="N", help="how many of them (default: the method's)"
    )
    parser.add_argument(
        "--img-size", dest="data_size", type=int, metavar="N",
        help="side of the images of --data; the cost grows with its fourth power (default: the ViT's own, at most 224)",
    )  # fmt: skip
    parser.add_argument(
        "--largest", metavar="SIZE", help="principal: the largest size wanted; what only larger ones need is left out"
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="seed for methods that draw numbers (default: the method's)"
    )
    add_options(parser, "extraction")
    add_output(parser, "GENE", "the learngene file to write")


def run(arguments: argparse.Namespace) -> None:
    """The command."""
    check_output(arguments)
    options = {
        **given(arguments, "path", "data", "num_images", "data_size", "seed", "num_heads", "largest"),
        **dict(arguments.options),
    }
    save(extract(arguments.method, arguments.ancestry, like=arguments.like, **options), arguments.output)
