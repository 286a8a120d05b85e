"""Latency and memory of a size, measured on this machine."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from ..errors import LearngeneError
from ..frameworks import first_layout
from .planning import Cost

_SECONDS = 0.3  # that a latency is measured for, at least


def measured(cost: Cost, device: torch.device, batch_size: int = 1) -> Cost:
    """A cost with latency and memory of a forward pass in float32, on this machine.

    The latency is the median of the passes of at least 0.3 seconds, with torch's number of threads. The memory is the
    peak of weights and activations; what a library takes beside tensors is not in it.

    Args:
        cost: what was planned.
        device: where to run.
        batch_size: images in a pass.

    Raises:
        LearngeneError: no framework that is installed has the ViT's features.
    """
    from torch.utils.benchmark import Timer  # here, as it looks for compilers when it is imported

    spec = cost.spec
    model = first_layout(spec).build(spec).to(device)
    model.eval()  # of which a backbone of mmpretrain returns nothing
    images = torch.zeros(batch_size, spec.in_channels, *spec.img_size, device=device)
    with torch.inference_mode():
        memory = _peak_memory(model, images, device)
        timer = Timer("model(images)", globals=dict(model=model, images=images), num_threads=torch.get_num_threads())
        latency = timer.blocked_autorange(min_run_time=_SECONDS).median
    return replace(cost, latency=latency, memory=memory)


def checked_device(name: str) -> torch.device:
    """A device that is there.

    Raises:
        LearngeneError: it is not.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        here = "cpu or cuda" if torch.cuda.is_available() else "cpu"
        raise LearngeneError(f"device {name!r} cannot be used here; expected {here}") from error
    return device


def _peak_memory(model: nn.Module, images: torch.Tensor, device: torch.device) -> int:
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        model(images)
        weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
        return torch.cuda.max_memory_allocated(device) - before + weights
    from torch.distributed._tools.mem_tracker import MemTracker  # here, as not every build of torch has it

    tracker = MemTracker()
    with tracker:
        tracker.track_external(model, images)
        model(images)
    return sum(kinds["Total"] for kinds in tracker.get_tracker_snapshot("peak").values())
