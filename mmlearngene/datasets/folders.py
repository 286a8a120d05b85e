"""Folders of images, a folder for each class, as lists of images that mmpretrain's ``CustomDataset`` reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sklearn.model_selection import train_test_split
from torchvision.datasets.folder import IMG_EXTENSIONS

from ..errors import LearngeneError
from ..io.atomic import save_bytes

VAL_NAMES = ("val", "validation", "valid", "test")
TRAIN_NAMES = ("train", "training")
VAL_SHARE = 0.2  # of each class, where a single folder has to give images to tune and to test on

Labelled = list[tuple[Path, int]]


@dataclass
class Folders:
    """Labelled images.

    Attributes:
        classes: their names, in order of the labels.
        train: images to tune on, and their labels; empty where nobody tunes.
        val: images to test on, and their labels.
        note: what was decided, in words; '' for nothing.
    """

    classes: list[str]
    train: Labelled
    val: Labelled
    note: str = ""


def read_folders(root: Path, tunes: bool, own_classes: Sequence[str] | None = None) -> Folders:
    """Find the images below a folder.

    Args:
        root: with ``val`` (or ``validation``, ``valid``, ``test``) and ``train`` in it, each with a folder a class; or
            a folder a class at once. From the latter a fifth of each class is tested on where the others are tuned on.
        tunes: whether images to tune on are wanted.
        own_classes: classes that a classifier knows already. Where every folder is named after one of them, labels are
            its; else, where there are as many, they are taken to be in the same order, which ``note`` says.

    Raises:
        LearngeneError: there are no classes or no images, or the folders to tune on have other classes.
    """
    folders = {name.name.lower(): name for name in _folders(root)}
    val = next((folders[name] for name in VAL_NAMES if name in folders), None)
    train = next((folders[name] for name in TRAIN_NAMES if name in folders), None)
    if val is None and train is not None:
        raise LearngeneError(
            f"{root} has {train.name} and no val; expected {root / 'val'} with a folder for each class"
        )
    if val is not None and tunes and train is None:
        raise LearngeneError(f"{root} has {val.name} and no train; expected {root / 'train'} to tune on, or --epochs 0")
    names = [folder.name for folder in _folders(val or root)]
    if not names:
        raise LearngeneError(f"{val or root} has no folders; expected one for each class, with images in it")
    if train is not None and tunes and [folder.name for folder in _folders(train)] != names:
        different = sorted(set(names) ^ {folder.name for folder in _folders(train)})
        raise LearngeneError(f"{train} and {val} have different classes: {', '.join(different[:3])}")
    classes, note = _labels(names, own_classes)
    label = {name: classes.index(name) for name in names}
    tested = _images(val or root, label)
    if not tunes:
        return Folders(classes, [], tested, note)
    if val is not None:
        return Folders(classes, _images(train, label), tested, note)
    try:
        tuned, tested = train_test_split(
            tested, test_size=VAL_SHARE, stratify=[number for _, number in tested], random_state=0
        )
    except ValueError as error:
        raise LearngeneError(
            f"{root} has {len(tested)} images of {len(names)} classes, too few to test on {VAL_SHARE:.0%} of each: "
            "expected 5 or more of each class, or folders train and val"
        ) from error
    share = f"{VAL_SHARE:.0%} of each class are tested on, the others tuned on, as there are no folders train and val"
    return Folders(classes, tuned, tested, "; ".join(filter(None, [note, share])))


def write_list(path: Path, images: Labelled, root: Path) -> None:
    """Write images as ``CustomDataset`` reads them: ``path label`` in a line, relative to ``root``.

    Raises:
        LearngeneError: there is such a list already, of other images.
    """
    text = "".join(f"{image.relative_to(root)} {label}\n" for image, label in images)
    if path.is_file() and path.read_text() != text:
        raise LearngeneError(f"{path} lists other images than are in {root} now; expected a new folder for the results")
    save_bytes(path, text.encode())


def _labels(names: list[str], own: Sequence[str] | None) -> tuple[list[str], str]:
    """The classes, and what to say of them."""
    if not own or set(names) <= set(own):
        return list(own or names), ""
    if len(own) != len(names):
        return names, ""
    return names, (
        f"the folders are not named after the learngene's classes and are taken in order: {names[0]!r} for {own[0]!r}"
    )


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(folder: Path, label: dict[str, int]) -> Labelled:
    found = [
        (path, label[each.name])
        for each in _folders(folder)
        for path in sorted(each.rglob("*"))
        if path.suffix.lower() in IMG_EXTENSIONS
    ]
    if pipes := [path for path, _ in found if not path.is_file()]:
        raise LearngeneError(f"{pipes[0]} is no file; expected images alone in {folder}")
    if not found:
        raise LearngeneError(f"{folder} has no images ({', '.join(IMG_EXTENSIONS)}) in the folders of its classes")
    return found
