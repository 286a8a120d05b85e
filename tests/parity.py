"""The golden numbers of the papers' released code, and a plain timm ViT to run weights in."""

import json
from pathlib import Path

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from mmlearngene import ViTWeights
from mmlearngene.layouts import LAYOUTS
from mmlearngene.layouts.timm import model_kwargs

DATA = Path(__file__).parent / "data"


class Golden:
    """One file of golden numbers: the checkpoint's path, its meta data, an input and expected tensors."""

    def __init__(self, method: str) -> None:
        self.path = DATA / f"{method}_official_small.npz"
        with np.load(self.path) as arrays:
            self.tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        self.meta = json.loads(self.tensors.pop("meta").numpy().tobytes())

    def descendant(self, name: str) -> dict[str, Tensor]:
        """The released code's descendant, in timm's names."""
        prefix = f"des/{name}/"
        return {key.removeprefix(prefix): t for key, t in self.tensors.items() if key.startswith(prefix)}


def timm_logits(weights: ViTWeights, images: Tensor) -> Tensor:
    """Logits (N, classes) of a plain timm ViT with these weights."""
    model = VisionTransformer(**model_kwargs(weights.spec)).eval()
    model.load_state_dict(LAYOUTS["timm"].state_dict(weights))
    with torch.no_grad():
        return model(images)
