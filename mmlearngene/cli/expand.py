"""``mmlearngene expand``: the weights of a plain ViT of any size."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ..errors import LearngeneError
from ..frameworks import FRAMEWORKS, fit
from ..learngenes import Learngene, load
from ..learngenes.attention import read_images
from ..learngenes.base import HEADS
from ..learngenes.principal import Principal
from ..use.export.expanded import Expanded
from ..use.export.write import write
from ..use.extract import fitted
from ..utils.tables import printable
from ..vit.weights import PARTS, ViTWeights, tensors_named, with_head
from .arguments import add_expansion_options, add_options, add_output, check_output, given, given_expansion

_CALIBRATED = 128  # images, a quarter of which is held out for the check
_BATCH = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("gene", metavar="GENE", help="the learngene file")
    parser.add_argument(
        "--arch", required=True, metavar="SIZE", help="heads and layers, as in h6-l12; of each stage of a Swin"
    )
    parser.add_argument(
        "--layout", choices=[*FRAMEWORKS, "onnx"], default="timm",
        help="whose names to use (default: timm); hf writes a folder that from_pretrained opens, onnx a file that is "
        "checked with onnxruntime",
    )  # fmt: skip
    parser.add_argument(
        "--tokens", choices=["own", "ancestry"], default="own",
        help="principal learngenes of a model without classes: ancestry adds the linear layer that takes the tokens to "
        "the ancestry's channels: as head, or in the file tokens.safetensors of a Hugging Face folder",
    )  # fmt: skip
    parser.add_argument(
        "--data", metavar="CONFIG_OR_FOLDER",
        help="principal learngenes: images without labels, on which this size is refitted by itself",
    )  # fmt: skip
    parser.add_argument("--images", dest="num_images", type=int, metavar="N", help="how many of them (default: 500)")
    parser.add_argument(
        "--license",
        metavar="NAME",
        help="licence of the ancestry, for the model card, where the learngene does not tell it",
    )
    parser.add_argument(
        "--adapt", action="store_true",
        help="where the layout lacks a feature, write weights that compute the same without it, if there are such",
    )  # fmt: skip
    parser.add_argument(
        "--patch-tokens", action="store_true",
        help="with --layout onnx a second output: patches (batch, rows, columns, channels) behind the final norm",
    )  # fmt: skip
    parser.add_argument(
        "--dtype", choices=["fp32", "int8"], default="fp32",
        help="with --layout onnx: int8 is quantised by onnxruntime's tools, see --calibrate (default: fp32)",
    )  # fmt: skip
    parser.add_argument(
        "--calibrate", metavar="CONFIG_OR_FOLDER",
        help="with --dtype int8: images without labels, 128 of which say the range of each activation",
    )  # fmt: skip
    parser.add_argument("--img-size", type=int, metavar="N", help="image side; positions are resampled")
    parser.add_argument("--patch-size", type=int, metavar="N", help="patch side; the patch kernel is resampled")
    parser.add_argument("--num-classes", type=int, metavar="N", help="outputs of the classifier head")
    parser.add_argument(
        "--head", choices=HEADS, default="auto", help="classifier: inherit, fresh, or auto: inherit if classes agree"
    )
    parser.add_argument(
        "--skip", type=lambda text: text.split(","), default=[], metavar="PART,...",
        help=f"leave tensors out: {', '.join(PARTS)}, or patterns of canonical names such as qkv.*",
    )  # fmt: skip
    add_expansion_options(parser)
    add_options(parser, "expansion")
    add_output(
        parser, "STATE.safetensors", "the state dict to write, also as .pth or .pt; or the folder with --layout hf"
    )


def run(arguments: argparse.Namespace) -> None:
    """The command."""
    check_output(arguments)
    _check_dtype(arguments)
    learngene = load(arguments.gene)
    spec = learngene.target(arguments.arch).sized(**given(arguments, "img_size", "patch_size", "num_classes"))
    tensors_named(arguments.skip, spec)  # a wrong name is told before any work
    if arguments.skip and arguments.layout == "onnx":
        raise LearngeneError("an ONNX file cannot be trained, so nothing in it can start fresh; leave out --skip")
    if arguments.patch_tokens and arguments.layout != "onnx":
        raise LearngeneError(
            f"--patch-tokens is of --layout onnx; mmlearngene.use.tokens gives those of a {arguments.layout} model"
        )
    options = {**given_expansion(arguments), **dict(arguments.options)}
    if arguments.data is not None:
        learngene = fitted(learngene, spec, arguments.data, options, **given(arguments, "num_images"))
    elif arguments.num_images is not None:
        raise LearngeneError(f"--images {arguments.num_images} is of --data, which is not given")
    with torch.no_grad():
        weights = learngene.expand(spec, head=arguments.head, **options)
        token_map = _token_map(learngene, weights) if arguments.tokens == "ancestry" else None
        if token_map and arguments.layout != "hf":  # as the head
            weights = with_head(weights, *token_map)
        layout, adapted = None, []
        if arguments.layout != "onnx":
            layout, weights, adapted = fit(weights, arguments.layout, arguments.adapt)
    weights = weights.without(arguments.skip)
    notes = [*(f"adapted: {words}" for words in adapted), *learngene.notes_on(weights.spec)]
    notes += [f"skipped: {', '.join(arguments.skip)}"] if arguments.skip else []
    expanded = Expanded(
        learngene,
        Path(arguments.gene).name,
        weights,
        layout,
        notes,
        arguments.license,
        token_map=token_map,
        patches=arguments.patch_tokens,
        calibration=_calibration(arguments.calibrate, learngene, weights) if arguments.calibrate else None,
    )
    for line in write(expanded, arguments.output):
        print(printable(line))


def _check_dtype(arguments: argparse.Namespace) -> None:
    if arguments.dtype == "int8" and arguments.layout != "onnx":
        raise LearngeneError(f"--dtype int8 is of --layout onnx, not of {arguments.layout}")
    if (arguments.dtype == "int8") != (arguments.calibrate is not None):
        raise LearngeneError("--dtype int8 and --calibrate IMAGES go together; expected both")


def _calibration(data: str, learngene: Learngene, weights: ViTWeights) -> list[torch.Tensor]:
    """Batches of images, made ready as the learngene says; the last is for the check alone.

    Raises:
        LearngeneError: there are fewer than two images.
    """
    images = torch.cat(list(read_images(data, weights.spec, _CALIBRATED, img_size=max(weights.spec.img_size),
                                        **learngene.preprocessing)))  # fmt: skip
    if len(images) < 2:
        raise LearngeneError(
            f"--calibrate {data} holds one image; expected some hundred, like those it will be used on"
        )
    held = max(1, len(images) // 4)
    return [*images[:-held].split(_BATCH), images[-held:]]


def _token_map(learngene: Learngene, weights: ViTWeights) -> tuple[torch.Tensor, torch.Tensor]:
    if not isinstance(learngene, Principal):
        raise LearngeneError(f"--tokens ancestry is of principal learngenes; this is a {learngene.method} learngene")
    return learngene.token_map(weights.spec.embed_dims)
