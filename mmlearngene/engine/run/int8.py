"""What a classifier scores once it is quantised to int8, as ``expand --layout onnx --dtype int8`` does it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from mmengine.runner import Runner
from torch import Tensor

from ...frameworks import find_vit, weights_of
from ...use.export.int8 import quantised, session_of
from ...use.export.onnx import onnx_bytes
from ..hooks.runner import unwrapped

_CALIBRATED = 64  # images


def int8_metrics(runner: Runner) -> dict[str, float]:
    """The metrics of the runner's validation, of its classifier in int8 with onnxruntime.

    The ranges of activations are those of the first 64 validation images; no label is looked at for them.

    Args:
        runner: one that has validated; its model is moved to the CPU.

    Raises:
        LearngeneError: the model cannot be an ONNX file, or cannot be quantised.
    """
    model = unwrapped(runner).cpu().eval()
    data, _ = onnx_bytes(weights_of(find_vit(model), model), {})
    session = session_of(quantised(data, _first(runner)), torch.get_num_threads())
    evaluator = runner.val_loop.evaluator
    for batch in runner.val_dataloader:
        ready = model.data_preprocessor(batch, False)
        (logits,) = session.run(None, {"images": ready["inputs"].numpy()})
        scores = torch.from_numpy(logits).softmax(1)
        samples = [
            sample.set_pred_score(score).set_pred_label(score.argmax())
            for sample, score in zip(ready["data_samples"], scores, strict=True)
        ]
        evaluator.process(data_samples=samples, data_batch=batch)
    metrics = evaluator.evaluate(len(runner.val_dataloader.dataset))
    return {name: float(value) for name, value in metrics.items()}


def _first(runner: Runner) -> Iterator[Tensor]:
    """Batches of preprocessed images, 64 images in all."""
    left = _CALIBRATED
    for batch in runner.val_dataloader:
        images = unwrapped(runner).data_preprocessor(batch, False)["inputs"][:left]
        yield images
        left -= len(images)
        if left <= 0:
            return
