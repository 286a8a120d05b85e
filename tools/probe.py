"""Judge the features of a learngene at any sizes, or of any trained ViT, without training it.

    tools/probe.py gene.safetensors --sizes h6-l8 h6-l12 --bank data/train --queries data/val
    tools/probe.py dinov2-small/ gene.safetensors --sizes h6-l8 --segmentation configs/seg/des_h6_l12_ade20k.py
    tools/probe.py dinov2-small/ gene.safetensors --sizes h6-l8 --pictures data/val --figure tokens.png

Folders of a bank and of queries have a folder for each class: the nearest 20 of the bank vote by cosine, and a linear
layer is fitted to the bank. Of a segmentation config the patches of the training set are the bank and those of the
validation set the queries, each with the class of most of its pixels. The figure shows the three main components of
patch tokens as colours, those of the first model and of the others turned towards them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from mmlearngene import LearngeneError
from mmlearngene.engine.launch import run
from mmlearngene.figures import plot_components
from mmlearngene.probes import (
    features,
    knn_accuracy,
    labelled_images,
    linear_accuracy,
    linear_predictions,
    mean_iou,
    models_of,
    patch_features,
)
from mmlearngene.tables import table


def main() -> None:
    """Judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "sources", nargs="+", help="learngene files; or trained ViTs as `mmlearngene extract` reads them"
    )
    parser.add_argument(
        "--sizes", nargs="+", default=[], help="sizes of the learngenes (default: those of the Aux-Net)"
    )
    parser.add_argument("--bank", type=Path, help="labelled images that vote, a folder for each class")
    parser.add_argument("--queries", type=Path, help="labelled images that are voted on, likewise")
    parser.add_argument("--segmentation", type=Path, help="a segmentation config, whose data sets are used")
    parser.add_argument("--pictures", type=Path, help="a folder of images for the figure")
    parser.add_argument("--figure", type=Path, help="the figure to write")
    parser.add_argument("--limit", type=int, default=10_000, help="images of a set at most, evenly spread")
    parser.add_argument("--img-size", type=int, help="side of the images (default: the model's)")
    parser.add_argument("--mean", type=float, nargs="+", help="of each channel, of images scaled to 0 to 1")
    parser.add_argument("--std", type=float, nargs="+", help="likewise")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    args = parser.parse_args()
    if bool(args.bank) != bool(args.queries) or bool(args.pictures) != bool(args.figure):
        raise LearngeneError("--bank needs --queries, and --pictures needs --figure, and the other way round")
    if not (args.bank or args.segmentation or args.pictures):
        raise LearngeneError("nothing to do; expected --bank and --queries, --segmentation, or --pictures and --figure")
    for folder in (args.bank, args.queries, args.pictures):
        if folder and not folder.is_dir():
            raise LearngeneError(f"{folder} is no folder; expected images in it")
    given = {name: tuple(value) for name in ("mean", "std") if (value := getattr(args, name))}
    found: dict[str, dict[str, float]] = {}
    shown: dict[str, list[np.ndarray]] = {}
    pictures: list[np.ndarray] = []
    for model in models_of(args.sources, args.sizes, args.img_size, given):
        scores = found[model.name] = {}
        if args.bank:
            sides = [
                features(model, labelled_images(folder, model, args.limit)) for folder in (args.bank, args.queries)
            ]
            scores["knn"], scores["linear"] = (judge(*sides[0], *sides[1]) for judge in (knn_accuracy, linear_accuracy))
        if args.segmentation:
            (bank, bank_labels), (queries, labels) = patch_features(model, args.segmentation, args.limit)
            predictions = linear_predictions(bank, bank_labels, queries)
            scores["patch_accuracy"] = 100 * float((predictions == labels).mean())
            scores["patch_mIoU"] = mean_iou(predictions, labels)
        if args.pictures:
            batches = [images for images, _ in labelled_images(args.pictures, model, limit=4)]
            pictures = pictures or [model.shown(image) for image in torch.cat(batches)]
            shown[model.name] = [patches.numpy() for patches in torch.cat([model.tokens(b).patches for b in batches])]
    if args.figure:
        print(f"wrote {plot_components(pictures, shown, args.figure)}")
    if any(found.values()):
        names = list(next(iter(found.values())))
        rows = [("model", *names), *((name, *(f"{s[key]:.1f}" for key in names)) for name, s in found.items())]
        print(table(rows, "<" + ">" * len(names)))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    run(main)
