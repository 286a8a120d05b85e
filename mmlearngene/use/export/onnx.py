"""ONNX, checked with onnxruntime."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import LearngeneError, in_words
from ...frameworks import built_anywhere
from ...vit.spec import ViTSpec
from ...vit.weights import ViTWeights
from ..tokens import token_model
from .int8 import session_of

_TOLERANCE = 1e-4  # of the largest output; float32 kernels of two runtimes differ by a tenth of it


def onnx_bytes(
    weights: ViTWeights, metadata: dict[str, str], patches: bool = False, project: bool = False
) -> tuple[bytes, float]:
    """An ONNX model of any batch size, checked with onnxruntime against PyTorch.

    Args:
        weights: complete weights.
        metadata: what the file tells of itself.
        patches: whether its patch tokens are a second output.
        project: whether these go through the classifier, which is a token map.

    Returns:
        The file's bytes, and the largest difference of an output.

    Raises:
        LearngeneError: onnx or onnxruntime is not installed; weights are missing; it cannot be exported or run; or the
            outputs differ.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401  (looked for before any work)
    except ImportError as error:
        raise LearngeneError(f"--layout onnx needs {error.name}: pip install mmlearngene[onnx]") from error
    spec = weights.spec
    model = built_anywhere(weights)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # plain products, which every exporter and runtime has
    if spec.rope == "mixed":  # positions of one image size are numbers; the code that makes them is exported wrongly
        with torch.no_grad():
            positions = model.rope.get_embed()
        model.rope.get_embed = lambda *_, **__: positions
    graph_of = _Graph(model, spec, patches, project).eval()
    names = ["outputs", "patches"] if patches else ["outputs"]
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, spec.in_channels, *spec.img_size, generator=generator)
    try:
        found = _exported(graph_of, images[:2], names, metadata)
        onnx.checker.check_model(found)
        data = found.SerializeToString()
        session = session_of(data)
        given = {count: session.run(None, {"images": images[:count].numpy()}) for count in (1, 3)}
    except Exception as error:  # of the exporter, the checker or the runtime, each its own kind
        raise LearngeneError(f"{spec} cannot be an ONNX file: {in_words(error)}; nothing was written") from error
    largest = 0.0
    for count, arrays in given.items():
        with torch.no_grad():
            expected = graph_of(images[:count])
        for array, tensor in zip(arrays, expected, strict=True):
            apart = float(np.abs(array - tensor.numpy()).max()) if array.shape == tuple(tensor.shape) else math.nan
            if not apart <= _TOLERANCE * max(1.0, float(tensor.abs().max())):
                raise LearngeneError(
                    f"the ONNX model differs from PyTorch's by {apart:.2g} in a batch of {count}; nothing was written"
                )
            largest = max(largest, apart)
    return data, largest


class _Graph(nn.Module):
    """What an ONNX file computes: logits or the pooled feature (batch, channels), and patch tokens if asked for.

    Args:
        model: a live model.
        spec: its spec.
        patches: whether patches (batch, rows, columns, channels), behind the final norm, are a second output.
        project: whether these go through the classifier, too, which is a token map.
    """

    def __init__(self, model: nn.Module, spec: ViTSpec, patches: bool, project: bool) -> None:
        super().__init__()
        self.project = project
        self.model, self.patches, self.num_classes = model, patches, spec.num_classes
        self.tokens = token_model(model, class_token=None if spec.num_classes else spec.pool == "cls")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        if self.patches:
            tokens = self.tokens(images)
            classifier = self.tokens.classifier if self.num_classes else nn.Identity()
            outputs = self._outputs(images) if classifier is None else classifier(tokens.summary)
            return outputs, classifier(tokens.patches) if self.project else tokens.patches
        return (self._outputs(images),)

    def _outputs(self, images: Tensor) -> Tensor:
        result = self.model(images)
        if isinstance(result, tuple):  # a backbone of mmpretrain
            result = result[-1]
        if not isinstance(result, Tensor):  # Hugging Face's, which give tokens where there is no classifier
            result = result["logits"] if self.num_classes else self.tokens(images).summary
        return result


def _exported(model: nn.Module, images: Tensor, names: list[str], metadata: dict[str, str]):
    """A model as ONNX, with its metadata."""
    import onnx

    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder, "model.onnx")
        axes = {name: {0: "batch"} for name in ("images", *names)}
        # the exporter through TorchScript: in torch 2.11 torch.export's does not know every ViT of timm (BEiT)
        torch.onnx.export(
            model, (images,), path, input_names=["images"], output_names=names, dynamic_axes=axes, opset_version=17,
            dynamo=False,
        )  # fmt: skip
        graph = onnx.load(path)
    onnx.helper.set_model_props(graph, metadata)
    return graph
