"""Latency and memory of a size, measured on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import torch
from torch import nn

from ..errors import LearngeneError
from ..frameworks import first_layout
from .export.int8 import session_of
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


def timed(cost: Cost, runtime: str | None, dtype: str | None, device: torch.device, batch_size: int = 1) -> Cost:
    """A cost measured in a runtime, torch's on a device when None; see :func:`measured` and :func:`measured_in`."""
    if (runtime or "torch") == "torch":
        return measured(cost, device, batch_size)
    return measured_in(cost, runtime, dtype or "fp32", batch_size)


def measured_in(cost: Cost, runtime: str, dtype: str = "fp32", batch_size: int = 1) -> Cost:
    """A cost with the latency of the ONNX file of the size, in the runtime that will run it, on this machine's CPU.

    The file is really exported, with random weights, and in int8 calibrated on noise: neither changes how long it
    takes. It runs with torch's number of threads. The memory is the size of the file, which is that of the weights:
    what a runtime takes for activations it does not say.

    Args:
        cost: what was planned.
        runtime: ``onnxruntime`` or ``openvino``.
        dtype: ``fp32`` or ``int8``.
        batch_size: images in a pass.

    Raises:
        LearngeneError: the size cannot be an ONNX file, or see :func:`check_runtime`.
    """
    from torch.utils.benchmark import Timer

    from ..testing import random_weights
    from .export.int8 import quantised
    from .export.onnx import onnx_bytes

    spec = cost.spec
    check_runtime(runtime, dtype)
    data, _ = onnx_bytes(random_weights(spec), {})
    images = torch.randn(batch_size, spec.in_channels, *spec.img_size)
    if dtype == "int8":
        data = quantised(data, [images])
    run = _runner(runtime, data, torch.get_num_threads())
    array = images.numpy()
    run(array)  # plans, and warms up
    timer = Timer("run(array)", globals=dict(run=run, array=array), num_threads=torch.get_num_threads())
    return replace(cost, latency=timer.blocked_autorange(min_run_time=_SECONDS).median, memory=len(data))


def too_slow(costs: Sequence[Cost], limit: float, where: str = "") -> LearngeneError:
    """The error of measured sizes none of which keeps to ``limit`` seconds; it names the fastest."""
    fastest = min(costs, key=lambda cost: cost.latency)
    return LearngeneError(
        f"none of {len(costs)} sizes keeps to {limit * 1e3:.3g} ms; the fastest is {fastest.spec} with "
        f"{fastest.latency * 1e3:.3g} ms{where}"
    )


def check_runtime(runtime: str, dtype: str) -> None:
    """See that a runtime is here and has the kind of numbers.

    Raises:
        LearngeneError: it is not installed, or torch is asked for int8.
    """
    if runtime == "torch":
        if dtype != "fp32":
            raise LearngeneError(f"--dtype {dtype} is of --runtime onnxruntime or openvino; torch is measured in fp32")
        return
    for name in ("onnx", "onnxruntime", runtime):  # the file is made and checked with the first two
        if find_spec(name) is None:
            extra = name if name == "openvino" else "'mmlearngene[onnx]'"
            raise LearngeneError(f"--runtime {runtime} needs {name}, which is not installed: pip install {extra}")


def _runner(runtime: str, data: bytes, threads: int) -> Callable[[np.ndarray], object]:
    """A function of images (B, C, H, W) that runs an ONNX model in a runtime."""
    if runtime == "onnxruntime":
        session = session_of(data, threads)
        return lambda images: session.run(None, {"images": images})
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    core = openvino.Core()
    request = core.compile_model(core.read_model(data, b""), "CPU", settings).create_infer_request()
    return lambda images: request.infer({"images": images})


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
