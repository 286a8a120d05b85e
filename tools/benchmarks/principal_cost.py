"""What a principal learngene costs: processor time beside a plain forward pass of the same images, and memory.

    python tools/benchmarks/principal_cost.py --model vit_small_patch16_224 --images 500

Weights and images are random numbers, which cost what others do. Both are measured in one process, one after the other,
in processor seconds of all threads; memory is the peak of the process, the model's own weights and a batch included.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import timm
import torch

from mmlearngene import extract
from mmlearngene.learngenes.attention import BATCH_SIZE


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vit_small_patch16_224", help="a timm name")
    parser.add_argument("--images", type=int, default=500, help="how many")
    parser.add_argument("--keep", default="measured", help="how layers are chosen: measured, or first")
    args = parser.parse_args()
    torch.manual_seed(0)
    model = timm.create_model(args.model).eval()
    side = model.patch_embed.img_size
    batches = list(torch.randn(args.images, 3, *side).split(BATCH_SIZE))
    start = time.process_time()
    with torch.inference_mode():
        for batch in batches:
            model(batch)
    plain, before = time.process_time() - start, _peak()
    start = time.process_time()
    extract("principal", model, data=batches, keep=args.keep)
    whole = time.process_time() - start
    weights = sum(parameter.nbytes for parameter in model.parameters())
    print(
        json.dumps(
            dict(
                model=args.model,
                images=args.images,
                keep=args.keep,
                forward_seconds=round(plain, 1),
                extract_seconds=round(whole, 1),
                ratio=round(whole / plain, 2),
                peak_over_forward_in_models=round((_peak() - before) / weights, 2),
            )
        )
    )


def _peak() -> int:
    """Bytes that the process had at most."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
