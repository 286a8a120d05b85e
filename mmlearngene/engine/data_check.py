"""Look for a segmentation set's files before training starts, and say what to do where they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..errors import LearngeneError

_PREPARE = "then run `python tools/prepare_datasets/prepare_labels.py"
_CONTEXT = (
    "unpack VOC2010 (VOCtrainval_03-May-2010.tar) so that data/VOCdevkit/VOC2010/JPEGImages exists, put "
    f"trainval_merged.json beside it, {_PREPARE} pascal_context data/VOCdevkit`"
)
WHAT_TO_DO = {
    "ADE20KDataset": "unpack ADEChallengeData2016.zip in data/ade",
    "PascalContextDataset": _CONTEXT,
    "PascalContextDataset59": _CONTEXT,
    "CityscapesDataset": "unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip in data/cityscapes, "
    f"{_PREPARE} cityscapes data/cityscapes`",
}


def check_seg_data(cfg: Config, loaders: tuple[str, ...] = ("train_dataloader", "val_dataloader")) -> None:
    """Check that every image and every label map of the segmentation sets in ``cfg`` exists.

    Args:
        cfg: a whole config; data sets without label maps, or on a remote storage, are passed over.
        loaders: the data loaders to look at.

    Raises:
        LearngeneError: names the first file or folder that is missing and how to get it.
    """
    init_default_scope(cfg.get("default_scope", "mmseg"))
    for name in loaders:
        for dataset in _seg_datasets((cfg.get(name) or {}).get("dataset") or {}):
            _check(dataset, name)


def _seg_datasets(dataset: dict) -> Iterator[dict]:
    """The segmentation sets in a data set's config, wrappers opened."""
    for inner in [*dataset.get("datasets", []), *([dataset["dataset"]] if "dataset" in dataset else [])]:
        yield from _seg_datasets(inner)
    if "seg_map_path" in dataset.get("data_prefix", {}) and not dataset.get("backend_args"):
        yield dataset


def _check(dataset: dict, loader: str) -> None:
    kind, root = dataset["type"], Path(dataset.get("data_root") or "")
    kind = getattr(kind, "__name__", kind)  # a config may hold the class itself
    advice = _advice(kind, loader)
    wanted = [root / folder for folder in dataset["data_prefix"].values()]
    if split := dataset.get("ann_file"):
        wanted.append(root / split)
    for path in wanted:
        _demand(path, kind, advice)
    from mmseg.registry import DATASETS  # here, as runs on other data need no mmsegmentation

    built = DATASETS.build({**dataset, "pipeline": [], "serialize_data": False})  # serialising fails on nothing
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
    return (known + end if known else f"set data_root and data_prefix of {loader}.dataset") + "; see README.md"
