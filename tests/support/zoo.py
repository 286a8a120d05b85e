"""Tiny models of every framework, with no tensor at a special start value, and what they compute."""

import re

import timm
import torch
from torch import Tensor, nn

TIMM_MODULES = ("vision_transformer", "deit", "eva", "beit")


def timm_names() -> list[str]:
    """timm's own list of plain ViTs."""
    return [name for module in TIMM_MODULES for name in timm.list_models(module=module)]


def tiny_timm(name: str, **more) -> nn.Module:
    """timm's model of a name, its features as they are, two narrow layers and three by three patches large."""
    found = re.search(r"patch(\d+)", name)
    patch = int(found[1]) if found else 16
    fields = dict(embed_dim=32, depth=2, num_heads=2, img_size=3 * patch, num_classes=5)
    if "sapiens2" in name:
        fields["num_kv_heads"] = (2, 1)
    return shaken(timm.create_model(name, **{**fields, **more}))


def shaken(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, every parameter moved."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    model.eval()  # which a backbone of mmpretrain does not return
    return model


@torch.no_grad()
def outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Everything that a model gives for images, as tensors."""
    model.eval()
    if hasattr(model, "forward_head"):  # timm's
        tokens = model.forward_features(images)
        return [tokens, model.forward_head(tokens)]
    out = model(images)
    if isinstance(out, Tensor):
        return [out]
    if isinstance(out, (list, tuple)):
        return list(out)
    if hasattr(out, "logits"):
        return [out.logits]
    return [out.last_hidden_state, *([out.pooler_output] if getattr(out, "pooler_output", None) is not None else [])]


def images(size: tuple[int, int], channels: int = 3) -> Tensor:
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(1))


def noise(spec) -> Tensor:
    """Images of numbers for a ViT of a spec, for those who look at some."""
    return torch.randn(8, spec.in_channels, *spec.img_size, generator=torch.Generator().manual_seed(2))
