"""Write the label maps that Cityscapes and Pascal Context do not come with.

The work is done by mmsegmentation's own converters, which its wheel installs out of sight, and by the packages that
the sets' authors publish for reading them.

    python tools/prepare_datasets/prepare_labels.py cityscapes data/cityscapes --nproc 8
    python tools/prepare_datasets/prepare_labels.py pascal_context data/VOCdevkit
"""

from __future__ import annotations

import argparse
import importlib
import runpy
import sys
from pathlib import Path

import mmseg

from mmlearngene import LearngeneError

CONVERTERS = Path(mmseg.__file__).parent / ".mim" / "tools" / "dataset_converters"


def need(module: str, name: str, install: str) -> None:
    """Check that the package that reads the set is there.

    Raises:
        LearngeneError: it is not; says how to install it.
    """
    try:
        getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise LearngeneError(f"the package with {module}.{name} is needed: pip install {install}") from error


def cityscapes(args: argparse.Namespace) -> list[str]:
    """Check Cityscapes and give the converter's arguments; it writes ``*_gtFine_labelTrainIds.png``."""
    for folder in (args.root / "gtFine" / split for split in ("train", "val", "test")):  # the converter wants all
        if not any(folder.glob("*/*_gtFine_polygons.json")):
            raise LearngeneError(
                f"no *_gtFine_polygons.json in {folder}/<city>; unpack gtFine_trainvaltest.zip "
                f"(cityscapes-dataset.com) in {args.root}"
            )
    need("cityscapesscripts.preparation.json2labelImg", "json2labelImg", "cityscapesscripts")
    return [str(args.root), "--nproc", str(args.nproc)]


def pascal_context(args: argparse.Namespace) -> list[str]:
    """Check Pascal Context and give the converter's arguments; it writes label maps and splits."""
    voc = args.root / "VOC2010"
    for path, source in (
        (voc / "JPEGImages", "unpack VOCtrainval_03-May-2010.tar (host.robots.ox.ac.uk/pascal/VOC/voc2010)"),
        (
            voc / "trainval_merged.json",
            "download https://codalabuser.blob.core.windows.net/public/trainval_merged.json",
        ),
    ):
        if not path.exists():
            raise LearngeneError(f"{path} is missing; {source}")
    need(
        "detail",
        "Detail",
        "cython numpy setuptools, then pip install --no-build-isolation "
        '"git+https://github.com/zhanghang1989/detail-api#subdirectory=PythonAPI"',
    )
    return [str(args.root), str(voc / "trainval_merged.json")]


def main() -> None:
    """Check the input, then hand over to the converter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=["cityscapes", "pascal_context"])
    parser.add_argument("root", type=Path, help="data/cityscapes or data/VOCdevkit")
    parser.add_argument("--nproc", type=int, default=1, help="processes (Cityscapes)")
    args = parser.parse_args()
    try:
        arguments = {"cityscapes": cityscapes, "pascal_context": pascal_context}[args.dataset](args)
    except LearngeneError as error:
        parser.error(str(error))
    script = CONVERTERS / f"{args.dataset}.py"
    sys.argv = [str(script), *arguments]
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
