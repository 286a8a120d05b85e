"""An ONNX model in int8: static quantisation by onnxruntime's own tools, calibrated on images."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from ...errors import LearngeneError, in_words

# linear layers and the patch embedding: most of the work. Norms, softmax and the products of attention stay in float32,
# where int8 costs accuracy and saves little
_QUANTISED = ["Conv", "Gemm", "MatMul"]
_OPTIONS = {"MatMulConstBOnly": True, "ActivationSymmetric": False, "WeightSymmetric": True}


def quantised(data: bytes, images: Iterable[Tensor]) -> bytes:
    """A float32 ONNX model in int8, in QDQ form.

    Weights have a scale for each output channel; activations one, from the least and largest value on the images.

    Args:
        data: the ONNX model, whose input is ``images``.
        images: batches (B, C, H, W) to calibrate on, preprocessed as the model wants them.

    Raises:
        LearngeneError: onnxruntime's tools cannot quantise it.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # which the tools warn through
    try:
        with tempfile.TemporaryDirectory() as folder:
            plain, ready, small = (Path(folder, f"{name}.onnx") for name in ("plain", "ready", "int8"))
            plain.write_bytes(data)
            quant_pre_process(plain, ready, skip_symbolic_shape=True)
            quantize_static(
                ready, small, _Reader(images), quant_format=QuantFormat.QDQ, op_types_to_quantize=_QUANTISED,
                per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                reduce_range=True, calibrate_method=CalibrationMethod.MinMax, extra_options=dict(_OPTIONS),
            )  # fmt: skip
            graph = onnx.load(small)
    except Exception as error:  # of the tools, each its own kind
        raise LearngeneError(
            f"onnxruntime cannot quantise the model: {in_words(error)}; nothing was written"
        ) from error
    finally:
        logging.getLogger().setLevel(level)
    own = onnx.load_from_string(data)
    onnx.helper.set_model_props(graph, {**{p.key: p.value for p in own.metadata_props}, "dtype": "int8"})
    return graph.SerializeToString()


class _Reader:
    """Batches of images as onnxruntime's calibration asks for them."""

    def __init__(self, images: Iterable[Tensor]) -> None:
        self._batches: Iterator[Tensor] = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch.numpy()}


def session_of(data: bytes, threads: int = 0):
    """An onnxruntime session on the CPU that says nothing itself; ``threads`` 0 is one for each core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def cosine_to(data: bytes, other: bytes, images: Iterable[Tensor]) -> float:
    """Mean cosine of the first outputs of two ONNX models on images."""
    sessions, found = [session_of(each) for each in (data, other)], []
    for batch in images:
        a, b = (session.run(None, {"images": batch.numpy()})[0].reshape(len(batch), -1) for session in sessions)
        found.append((a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12))
    return float(np.concatenate(found).mean())
