"""Look for a data set's files before training starts, and say what to do where they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from torch.utils.data import Dataset

from ..errors import LearngeneError

LOADERS = ("train_dataloader", "val_dataloader")
_PREPARE = "then run `python tools/prepare_datasets/prepare_labels.py"
_CONTEXT = (
    "unpack VOC2010 (VOCtrainval_03-May-2010.tar) so that data/VOCdevkit/VOC2010/JPEGImages exists, put "
    f"trainval_merged.json beside it, {_PREPARE} pascal_context data/VOCdevkit`"
)
_CIFAR = "unpack cifar-{0}-python.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html) in data/cifar{0}"
WHAT_TO_DO = {
    "ADE20KDataset": "unpack ADEChallengeData2016.zip in data/ade",
    "PascalContextDataset": _CONTEXT,
    "PascalContextDataset59": _CONTEXT,
    "CityscapesDataset": "unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip in data/cityscapes, "
    f"{_PREPARE} cityscapes data/cityscapes`",
    "ImageNet": "put train and val of ILSVRC2012, a folder for each class in either, in data/imagenet",
    "CIFAR10": _CIFAR.format(10),
    "CIFAR100": _CIFAR.format(100),
    "Food101": "unpack food-101.tar.gz in data",
    "Flowers102": "unpack 102flowers.tgz in data/flowers-102, with imagelabels.mat and setid.mat beside its folder jpg",
    "CUB": "unpack CUB_200_2011.tgz in data",
    "StanfordCars": "unpack car_ims.tgz in data/stanfordcars, with cars_annos.mat beside its folder car_ims",
    "CustomDataset": "put the images there, a folder for each class, or name a list with one `path class` a line by "
    "ann_file",
}
# what mmpretrain's sets of few classes read below their data_root; Stanford's cars come in two ways
FILES = {
    "Food101": [("meta/train.txt", "meta/test.txt", "images")],
    "Flowers102": [("imagelabels.mat", "setid.mat", "jpg")],
    "CUB": [("images.txt", "image_class_labels.txt", "train_test_split.txt", "images")],
    "StanfordCars": [
        ("cars_annos.mat", "car_ims"),
        ("devkit/cars_train_annos.mat", "devkit/cars_test_annos_withlabels.mat", "cars_train", "cars_test"),
    ],
}


def check_data(cfg: Config, loaders: tuple[str, ...] = LOADERS) -> None:
    """Check that the images and labels of the data sets in ``cfg`` are there.

    Of segmentation sets every image and every label map is looked for; of sets of classes the folders, the lists, and
    some of the listed images. Data sets of other kinds, or on a remote storage, are passed over.

    Args:
        cfg: a whole config.
        loaders: the data loaders to look at.

    Raises:
        LearngeneError: names the first file or folder that is missing and how to get it.
    """
    init_default_scope(cfg.get("default_scope", "mmseg"))
    for name in loaders:
        for dataset in plain_datasets((cfg.get(name) or {}).get("dataset") or {}):
            if dataset.get("backend_args"):
                continue
            kind = str(dataset["type"]).rpartition(".")[2]
            if kind in FILES:
                root = Path(dataset["data_root"])
                if not any(all((root / file).exists() for file in files) for files in FILES[kind]):
                    for file in FILES[kind][0]:
                        _demand(root / file, kind, _advice(kind, name))
            elif "seg_map_path" in (dataset.get("data_prefix") or {}):
                _check_segmentation(dataset, name)
            elif (built := lazily(dataset)) is not None:
                _check_classes(built, dataset, name)


def plain_datasets(dataset: dict) -> Iterator[dict]:
    """The configs of the data sets in one config, wrappers opened."""
    inner = [*dataset.get("datasets", []), *([dataset["dataset"]] if "dataset" in dataset else [])]
    for each in inner:
        yield from plain_datasets(each)
    if not inner and "type" in dataset:
        yield dataset


def lazily(dataset: dict) -> Dataset | None:
    """mmpretrain's set of classes that a config means, not one file of it read; None if it is another kind of set.

    The default scope has to be the config's.
    """
    from mmpretrain.datasets import CIFAR10, CustomDataset  # here, as runs on other data need no mmpretrain

    with DATASETS.switch_scope_and_registry(None) as registry:
        kind = dataset["type"]
        kind = registry.get(kind) if isinstance(kind, str) else kind
        if not (isinstance(kind, type) and issubclass(kind, CIFAR10 | CustomDataset)):
            return None
        return registry.build({**dataset, "pipeline": [], "lazy_init": True})


def _check_classes(built: Dataset, dataset: dict, loader: str) -> None:
    from mmpretrain.datasets import CIFAR10

    kind, advice = type(built).__name__, _advice(type(built).__name__, loader)
    if isinstance(built, CIFAR10):
        if dataset.get("download"):  # asked for in so many words
            return
        root = Path(built.data_prefix["root"], built.base_folder)
        parts = built.train_list if built.split == "train" else built.test_list
        for name in [built.meta["filename"], *(name for name, _ in parts)]:
            _demand(root / name, kind, f"{advice}; or let it be downloaded by {loader}.dataset.download=True")
        return
    images = Path(built.img_prefix)
    _demand(images, kind, advice)
    if built.ann_file:
        listed = Path(built.ann_file)
        _demand(listed, kind, advice)
        lines = [line.strip() for line in listed.read_text().splitlines() if line.strip()]
        if not lines:
            raise LearngeneError(f"{kind}: {listed.resolve()} is empty. What to do: {advice}")
        for line in {*lines[:: max(1, len(lines) // 100)], lines[-1]}:
            _demand(images / (line.rsplit(" ", 1)[0] if built.with_label else line), kind, advice)
        return
    folders = [path for path in images.iterdir() if path.is_dir()] if built.with_label else [images]
    if not any(built.is_valid_file(path.name) for folder in folders for path in folder.rglob("*")):
        ends = ", ".join(sorted(built.extensions))
        found = f"{len(folders)} class folders in {images.resolve()}" if built.with_label else str(images.resolve())
        raise LearngeneError(f"{kind}: no image ({ends}) in {found}. What to do: {advice}")


def _check_segmentation(dataset: dict, loader: str) -> None:
    kind, root = dataset["type"], Path(dataset.get("data_root") or "")
    kind = getattr(kind, "__name__", kind)  # a config may hold the class itself
    advice = _advice(kind, loader)
    wanted = [root / folder for folder in dataset["data_prefix"].values()]
    if split := dataset.get("ann_file"):
        wanted.append(root / split)
    for path in wanted:
        _demand(path, kind, advice)
    from mmseg.registry import DATASETS as SEG_DATASETS  # here, as runs on other data need no mmsegmentation

    built = SEG_DATASETS.build({**dataset, "pipeline": [], "serialize_data": False})  # serialising fails on nothing
    if not len(built):
        lack = f"{wanted[-1].resolve()} is empty" if split else f"no file *{built.img_suffix} in {wanted[0].resolve()}"
        raise LearngeneError(f"{kind}: {lack}. What to do: {advice}")
    for index in range(len(built)):
        info = built.get_data_info(index)
        for key in ("img_path", "seg_map_path"):
            _demand(Path(info[key]), kind, advice)


def _demand(path: Path, kind: str, advice: str) -> None:
    if path.exists():
        return
    found = next(parent for parent in path.resolve().parents if parent.exists())
    raise LearngeneError(
        f"{kind}: {path.resolve()} was looked for and is missing ({found} exists). What to do: {advice}"
    )


def _advice(kind: str, loader: str) -> str:
    known = WHAT_TO_DO.get(kind.rpartition(".")[2])
    end = f"; or link the set there, or name its folder by --cfg-options {loader}.dataset.data_root=FOLDER"
    return (known + end if known else f"set data_root and data_prefix of {loader}.dataset") + "; see docs/data_sets.md"
