"""What every method gives from a real ViT without training: its patch tokens, frozen, on a segmentation set.

    python studies/real_vit.py dinov2-small/ --photos photos/ --segmentation configs/study/camvid_des.py

The ViT is a Hugging Face folder, or whatever `mmlearngene extract` reads. Photos are of other subjects than the
segmentation set. Each descendant is judged as `mmlearngene probe --segmentation` does: a linear layer on the patches of
100 training images, mIoU over the patches of the validation images. Results are lines of --results, a file, and what is
there is not run again; --pages writes the table into pages.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from common import Results

from mmlearngene import extract
from mmlearngene.use.probes import linear_predictions, mean_iou, models_of, patch_features
from mmlearngene.utils.tables import fill, markdown

SIZES = ("h5-l12", "h4-l12", "h3-l12", "h6-l8", "h4-l8", "h3-l8", "h3-l6", "h2-l4")
OF_CONTROLS = ("h4-l12", "h3-l12", "h4-l8", "h3-l8")
METHODS = {  # row -> method and options of the extraction
    "principal": ("principal", {}),
    "principal, first layers": ("principal", dict(keep="first")),
    "principal, no refit": ("principal", dict(refitted=False)),
    "principal, noise": ("principal", dict(data="noise")),
    "the ancestry's first channels": ("principal", dict(basis="channels")),
    "weight selection": ("weight-selection", {}),
    "FRONT": ("front", {}),
    "random weights": ("scratch", {}),
}
SIDE, IMAGES = 168, 96
RESULTS = Path("studies/results/real_vit.jsonl")


def learngene(row: str, args: argparse.Namespace) -> Path:
    """The file of a row's learngene, extracted once."""
    method, options = METHODS[row]
    file = args.work_dir / f"{row.replace(' ', '_').replace(',', '')}.learngene.safetensors"
    if not file.exists():
        if method == "principal" and "basis" not in options:
            options = {"data": str(args.photos), "num_images": args.images, "data_size": SIDE, **options}
        start, cpu = time.time(), time.process_time()
        found = extract(method, args.ancestry, **options)
        found.provenance["seconds"] = round(time.process_time() - cpu, 1)
        found.save(file)
        print(f"{row}: extracted in {time.time() - start:.0f} s", flush=True)
    return file


def judged(source: str, size: str, args: argparse.Namespace) -> float:
    """mIoU over patches, in %, of a linear layer on frozen tokens."""
    torch.manual_seed(0)
    model = next(iter(models_of([source], [size] if size else [], SIDE)))
    (bank, bank_labels), (queries, labels) = patch_features(model, args.segmentation, args.limit)
    return mean_iou(linear_predictions(bank, bank_labels, queries), labels)


def table(found: dict) -> str:
    """The table of the page: a row a method, a column a size."""
    if "ancestry" not in found:
        return ""
    own = found["ancestry"]
    rows = [
        [
            row,
            *(
                f"{found[key]:.1f} ({found[key] / own:.2f})" if (key := f"{row} {size}") in found else ""
                for size in SIZES
            ),
        ]
        for row in METHODS
    ]
    return markdown([f"mIoU in %, ancestry {own:.1f} (share)", *SIZES], rows)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ancestry", nargs="?", help="the ViT: a Hugging Face folder, say")
    parser.add_argument("--photos", type=Path, help="folder of images without labels")
    parser.add_argument("--segmentation", type=Path, default=Path("configs/study/camvid_des.py"), help="the config")
    parser.add_argument("--images", type=int, default=IMAGES, help="how many photos")
    parser.add_argument("--limit", type=int, default=100, help="images of a set at most")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/real_vit"), help="where learngenes go")
    parser.add_argument(
        "--results", type=Path, default=Path("studies/results/real_vit.jsonl"), help="the file of the results"
    )
    parser.add_argument("--rows", nargs="+", default=list(METHODS), help="which methods")
    parser.add_argument("--report", action="store_true", help="only show what is there")
    parser.add_argument("--pages", nargs="+", type=Path, default=[], help="pages to write the table to")
    args = parser.parse_args()
    results = Results(args.results)
    if not args.report:
        if not (args.ancestry and args.photos):
            parser.error("expected a ViT and --photos, or --report")
        args.work_dir.mkdir(parents=True, exist_ok=True)
        if "ancestry" not in results.all():
            results.add("ancestry", dict(mIoU=judged(args.ancestry, "", args)))
        for row in args.rows:
            gene = learngene(row, args)
            for size in SIZES:
                asked = size in (SIZES if row.startswith("principal") else OF_CONTROLS)
                if f"{row} {size}" not in results.all() and asked:
                    score = judged(str(gene), size, args)
                    results.add(f"{row} {size}", dict(mIoU=score))
                    print(row, size, f"{score:.1f}", flush=True)
    found = {run: result["mIoU"] for run, result in results.all().items()}
    print(table(found))
    for page in args.pages:
        page.write_text(fill(page.read_text(), {"real_vit": table(found)}))


if __name__ == "__main__":
    main()
