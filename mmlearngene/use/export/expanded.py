"""A descendant that is about to be written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch

from ...errors import LearngeneError
from ...frameworks import Layout
from ...frameworks.modules import weightless
from ...io.preprocessing import image_processor
from ...learngenes import Learngene
from ...vit.weights import ViTWeights

TOKEN_MAP = "tokens.safetensors"  # in a Hugging Face folder


@dataclass
class Expanded:
    """A descendant that is about to be written, and what its card tells of it.

    Attributes:
        learngene: what was expanded.
        source: the learngene's file name.
        weights: the descendant's weights.
        layout: the framework's table; None for ONNX.
        notes: what was adapted, and what to say of the size.
        license: of the ancestry, as the user gives it.
        tuned: how long it was tuned, where it was.
        token_map: weight and bias of the linear layer that takes its tokens to the ancestry's channels, if asked for.
        patches: whether an ONNX file gives patch tokens, too.
        calibration: batches of images that an ONNX file in int8 is calibrated and, with the last, checked on; None for
            float32.
        missing: tensors that the weights do not give, of all layers or of some.
    """

    learngene: Learngene
    source: str
    weights: ViTWeights
    layout: Layout | None
    notes: Sequence[str] = ()
    license: str | None = None
    tuned: str = ""
    token_map: tuple[torch.Tensor, torch.Tensor] | None = None
    patches: bool = False
    calibration: Sequence[torch.Tensor] | None = None
    missing: list[str] = field(init=False)

    def __post_init__(self) -> None:
        spec, stem, layers = self.weights.spec, self.weights.stem(), self.weights.layers()
        self.missing = [name for name in spec.stem_shapes() if name not in stem]
        self.missing += [name for name in spec.layer_shapes() if not all(name in layer for layer in layers)]

    @property
    def inherited(self) -> float:
        """Share of the parameters, the classifier left out, that come from the learngene."""
        spec = self.weights.spec
        tensors = [(name, t) for part in (self.weights.stem(), *self.weights.layers()) for name, t in part.items()]
        ours = sum(tensor.numel() for name, tensor in tensors if not name.startswith("head"))
        return ours / spec.replace(num_classes=0).num_params

    @cached_property
    def hf_class(self) -> str:
        """The class of transformers that opens the folder, with its classifier where there is one."""
        return type(weightless(lambda: self.layout.make(self.weights.spec), buffers=False)).__name__

    @cached_property
    def processor(self) -> tuple[object | None, str]:
        """Hugging Face's image processor for it; or None, and why."""
        told = self.learngene.preprocessing
        if not told:
            return None, "the learngene does not say how its images were normalised"
        try:
            return image_processor(told, self.weights.spec), ""
        except LearngeneError as error:
            return None, str(error)
        except (ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError) as error:
            return None, f"what the learngene says of its images is damaged ({error})"


def class_names(expanded: Expanded) -> list[str]:
    """The names of a descendant's classes; none where its head is fresh or the learngene does not know them."""
    classes = expanded.learngene.classes or []
    return list(map(str, classes)) if not expanded.missing and len(classes) == expanded.weights.spec.num_classes else []
