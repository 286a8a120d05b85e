"""``mmlearngene probe``: what features are worth, without any training of the model that makes them."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from ..errors import LearngeneError
from ..io.atomic import save_bytes
from ..io.gene import is_learngene
from ..io.paths import existing
from ..use.probes import (
    Judged,
    check_folders,
    features,
    knn_accuracy,
    labelled_images,
    linear_accuracy,
    linear_predictions,
    mean_iou,
    models_of,
    patch_features,
    segmentation_sets,
    spread,
)
from ..utils.tables import printable, table
from .arguments import check_free

_PICTURES = 4  # in the figure
_COMPONENTS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE",
        help="learngene files; or trained ViTs as `mmlearngene extract` reads them",
    )  # fmt: skip
    parser.add_argument(
        "--sizes", nargs="+", default=[], metavar="SIZE", help="sizes of the learngenes (default: those of the Aux-Net)"
    )
    parser.add_argument(
        "--start", metavar="GENE",
        help="the learngene that the sources were trained from: it is judged first, at the same sizes, and a size that "
        "is worse than it was is warned of",
    )  # fmt: skip
    parser.add_argument(
        "--bank", type=Path, metavar="FOLDER",
        help="labelled images, a folder for each class: the nearest 20 vote by cosine, and a linear layer is fitted",
    )  # fmt: skip
    parser.add_argument("--queries", type=Path, metavar="FOLDER", help="labelled images that are voted on, likewise")
    parser.add_argument(
        "--segmentation", type=Path, metavar="CONFIG",
        help="a segmentation config: the patches of its training set are the bank, those of its validation set the "
        "queries, each with the class of most of its pixels",
    )  # fmt: skip
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="images for the figure")
    parser.add_argument(
        "--figure", type=Path, metavar="FILE", help="the main components of patch tokens as colours; a .png, .pdf, ..."
    )
    parser.add_argument(
        "--limit", type=int, default=10_000, metavar="N", help="images of a set at most, evenly spread (default: 10000)"
    )
    parser.add_argument("--img-size", type=int, metavar="N", help="side of the images (default: each model's)")
    parser.add_argument("--mean", type=float, nargs="+", metavar="X", help="of each channel, of images in [0, 1]")
    parser.add_argument("--std", type=float, nargs="+", metavar="X", help="likewise")
    parser.add_argument(
        "-o", "--output", "--out", type=Path, metavar="FILE.json", help="write the numbers to this file, model by model"
    )
    parser.add_argument("--force", action="store_true", help="overwrite output and figure if they exist")


def run(arguments: argparse.Namespace) -> None:
    """The command."""
    _check_arguments(arguments)
    models = _check_models(arguments)
    images = _check_images(arguments, models)
    found: dict[str, dict[str, float]] = {}
    shown: dict[str, list[np.ndarray]] = {}
    pictures: list[np.ndarray] = []
    with _Progress(images * len(models)) as progress:
        for number, model in enumerate(_models(arguments), 1):
            if arguments.bank or arguments.segmentation:
                found[model.name] = _scores(arguments, model, progress)
                words = ", ".join(f"{name} {value:.1f}" for name, value in found[model.name].items())
                progress.say(f"{number} of {len(models)}, {model.name}: {words}")
                if arguments.output:
                    save_bytes(arguments.output, json.dumps(found, indent=1).encode())
            if arguments.pictures:
                batch = torch.cat([batch for batch, _ in labelled_images(arguments.pictures, model, _PICTURES)])
                pictures = pictures or [model.shown(image) for image in batch]
                shown[model.name] = [patches.numpy() for patches in model.tokens(batch).patches]
    if arguments.figure:
        from ..use.figures import plot_components

        print(printable(f"wrote {plot_components(pictures, shown, arguments.figure)}"))
    if found:
        names = list(next(iter(found.values())))
        rows = [("model", *names), *((name, *(f"{s[key]:.1f}" for key in names)) for name, s in found.items())]
        print(table(rows, "<" + ">" * len(names)))
        if arguments.start:
            print(printable(_verdict(found, len(models) // (1 + len(arguments.sources)))))


def _verdict(found: dict[str, dict[str, float]], sizes: int) -> str:
    """Whether what was trained is better than its start, the first ``sizes`` models, in a line."""
    names = list(found)
    starts = {_size(name): found[name] for name in names[:sizes]}
    worse, better = [], 0
    for name in names[sizes:]:
        start = starts[_size(name)]
        lost = [
            f"{key} {value:.1f} after {start[key]:.1f}"
            for key, value in found[name].items()
            if round(value, 1) < round(start[key], 1)  # the digits that are shown
        ]
        worse += [f"{name} ({', '.join(lost)})"] if lost else []
        better += not lost
    if worse:
        return (
            f"warning: worse than the start: {'; '.join(worse)}. What to do: train longer, or keep the start; see "
            "docs/dense.md, What a training needs"
        )
    return f"as good as the start or better: all {better} sizes"


def _check_arguments(arguments: argparse.Namespace) -> None:
    """Look at everything but the models and the images."""
    if bool(arguments.bank) != bool(arguments.queries) or bool(arguments.pictures) != bool(arguments.figure):
        raise LearngeneError("--bank needs --queries, and --pictures needs --figure, and the other way round")
    if not (arguments.bank or arguments.segmentation or arguments.pictures):
        raise LearngeneError("nothing to do; expected --bank and --queries, --segmentation, or --pictures and --figure")
    if arguments.start and not (arguments.bank or arguments.segmentation):
        raise LearngeneError(f"--start {arguments.start} needs --bank and --queries, or --segmentation, to judge by")
    sources = (arguments.start, *arguments.sources)
    if arguments.start and (other := [source for source in sources if not is_learngene(existing(source))]):
        raise LearngeneError(f"--start compares learngenes at equal sizes, and {other[0]} is none; leave out --start")
    if arguments.limit < 1:
        raise LearngeneError(f"--limit {arguments.limit}: expected 1 or more; the usual value is 10000")
    for folder in (arguments.bank, arguments.queries, arguments.pictures):
        if folder and not folder.is_dir():
            raise LearngeneError(f"{folder} is no folder; expected images in it")
    for name in ("mean", "std"):
        values = getattr(arguments, name) or []
        if not all(math.isfinite(value) and (name == "mean" or value > 0) for value in values):
            more = " above 0" if name == "std" else ""
            raise LearngeneError(f"--{name} {' '.join(map(str, values))}: expected finite numbers{more}, one a channel")
    if path := arguments.output:
        if not (arguments.bank or arguments.segmentation):
            raise LearngeneError(f"-o {path}: there are no numbers to write without --bank or --segmentation")
        if path.suffix != ".json" or path.is_dir():
            raise LearngeneError(f"-o {path}: expected the name of a JSON file, such as {path.with_suffix('.json')}")
        check_free(arguments, path)
    if path := arguments.figure:
        from matplotlib.backend_bases import FigureCanvasBase

        kinds = sorted(FigureCanvasBase.get_supported_filetypes())
        if path.suffix.lower().lstrip(".") not in kinds or path.is_dir():
            raise LearngeneError(f"--figure {path}: expected the name of a picture: {', '.join(kinds)}")
        check_free(arguments, path)


def _models(arguments: argparse.Namespace) -> Iterable[Judged]:
    given = {name: tuple(value) for name in ("mean", "std") if (value := getattr(arguments, name))}
    sources = [*([arguments.start] if arguments.start else []), *arguments.sources]
    return models_of(sources, arguments.sizes, arguments.img_size, given)


def _check_models(arguments: argparse.Namespace) -> list[Judged]:
    """Read every source and make every size once, and say where images differ."""
    models = [_without_weights(model) for model in _models(arguments)]
    names = [model.name for model in models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise LearngeneError(f"{twice[0]} is named twice; expected each source and each size once")
    count = len(names) // (1 + len(arguments.sources))
    sizes = {_size(name) for name in names}
    if arguments.start and len(sizes) > count:
        raise LearngeneError(
            f"--start: the Aux-Nets are {', '.join(sorted(sizes))}; expected --sizes for all to be judged at"
        )
    seen = {f"{model.spec.img_size[0]} x {model.spec.img_size[1]}": model.name for model in models}
    if len(seen) > 1:
        which = ", ".join(f"{name} {size}" for size, name in seen.items())
        print(
            printable(f"note: models see images of different sizes ({which}); --img-size N gives all the same"),
            file=sys.stderr,
        )
    return models


def _size(name: str) -> str:
    """The size in a judged learngene's name."""
    return name.rpartition(" ")[2]


def _without_weights(model: Judged) -> Judged:
    return Judged(model.name, model.spec, None, model.mean, model.std)


def _check_images(arguments: argparse.Namespace, models: list[Judged]) -> int:
    """Look at all images' folders and sets; how many images each model will see."""
    count = check_folders(arguments.bank, arguments.queries, arguments.limit) if arguments.bank else 0
    if arguments.segmentation:
        with contextlib.redirect_stdout(io.StringIO()):  # mmsegmentation prints what it does without
            for model in models:
                sets = segmentation_sets(arguments.segmentation, model.spec)
        count += sum(len(spread(len(data), arguments.limit)) for data in sets)
    if arguments.pictures:
        from ..io.images import FolderImages

        pictures = min(_PICTURES, len(FolderImages(arguments.pictures, None, 3)))
        for model in models:
            last = len(model.spec.stages) - 1
            patches = pictures * math.prod(side // (model.spec.patch_size << last) for side in model.spec.img_size)
            if min(patches, model.spec.embed_dims) < _COMPONENTS:
                raise LearngeneError(
                    f"--figure shows {_COMPONENTS} components, and {model.name} has {patches} patches of "
                    f"{model.spec.embed_dims} channels; expected {_COMPONENTS} or more of both"
                )
    return count


def _scores(arguments: argparse.Namespace, model: Judged, progress: _Progress) -> dict[str, float]:
    scores = {}
    if arguments.bank:
        bank, queries = (
            features(model, progress.batches(labelled_images(folder, model, arguments.limit)))
            for folder in (arguments.bank, arguments.queries)
        )
        scores["knn"], scores["linear"] = (judge(*bank, *queries) for judge in (knn_accuracy, linear_accuracy))
    if arguments.segmentation:
        (bank, bank_labels), (queries, labels) = patch_features(
            model, arguments.segmentation, arguments.limit, progress.places
        )
        predictions = linear_predictions(bank, bank_labels, queries)
        scores["patch_accuracy"] = 100 * float((predictions == labels).mean())
        scores["patch_mIoU"] = mean_iou(predictions, labels)
    return scores


class _Progress:
    """A bar on stderr that counts images; where there is no terminal, a line for each model alone."""

    def __init__(self, images: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=Console(stderr=True, highlight=False, soft_wrap=True))
        self._task = self._bar.add_task("images", total=images)
        self._bar.disable = not (images and self._bar.console.is_terminal)

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *error) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        self._bar.console.print(printable(line), markup=False)

    def batches(self, batches: Iterable) -> Iterable:
        """The same batches, counted."""
        return self._counted(batches, lambda batch: len(batch[0]))

    def places(self, places: list[int]) -> Iterable[int]:
        """The same places of images, counted."""
        return self._counted(places, lambda place: 1)

    def _counted(self, items: Iterable, count: Callable) -> Iterable:
        for item in items:
            yield item
            self._bar.advance(self._task, count(item))
