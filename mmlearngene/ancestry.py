"""Read a trained ViT, the ancestry, into canonical weights: a timm name, or a timm or mmpretrain checkpoint."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from . import files
from .errors import LearngeneError
from .layouts import LAYOUTS
from .vit import ViTWeights


def load_ancestry(source: str | Path, num_heads: int | None = None, **fields) -> ViTWeights:
    """The weights of a trained ancestry, with or without class token.

    Args:
        source: a checkpoint file (``.pth``, ``.pt``, ``.bin``, ``.safetensors``) in timm's or mmpretrain's layout, or
            the name of a timm model, which is then loaded with ``pretrained=True``.
        num_heads: heads of a layer, which no tensor shows; a checkpoint's are taken to be 64 wide when omitted.
        **fields: other fields of :class:`~mmlearngene.ViTSpec` that a checkpoint does not show (``norm_eps``,
            ``pool``, ``img_size`` of an oblong image).

    Raises:
        LearngeneError: no such file or timm model, or not a plain ViT.
    """
    if Path(source).suffix in (".pth", ".pt", ".bin", ".safetensors") or Path(source).exists():
        state = files.load_state_dict(source)
    else:
        import timm

        if not timm.is_model(str(source)):
            raise LearngeneError(
                f"{source!r} is neither a checkpoint file (.pth, .pt, .bin, .safetensors) nor a timm model; "
                f"nearest timm models: {', '.join(timm.list_models(f'*{str(source)[:8]}*')[:3]) or 'none'}"
            )
        model = timm.create_model(str(source), pretrained=True)
        state = model.state_dict()
        if "blocks.0.attn.qkv.weight" in state:
            num_heads = model.blocks[0].attn.num_heads
            fields = {"norm_eps": model.blocks[0].norm1.eps, **fields}
    layout, state = _recognise(state)
    return LAYOUTS[layout].from_state_dict(state, num_heads, **fields)


def _recognise(state: dict[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Name of the layout, and the state dict with the prefixes that this layout expects."""
    for wrapper in ("module.", "model."):
        if all(key.startswith(wrapper) for key in state):
            state = {key.removeprefix(wrapper): tensor for key, tensor in state.items()}
    if "patch_embed.projection.weight" in state:  # a bare mmpretrain backbone
        state = {f"backbone.{key}": tensor for key, tensor in state.items()}
    layout = "mmpretrain" if "backbone.patch_embed.projection.weight" in state else "timm"
    if layout == "mmpretrain":
        # mmpretrain's own ViT configs have a VisionTransformerClsHead, which is one more name for a linear layer
        state = {
            key.replace("head.layers.head.", "head.fc."): tensor
            for key, tensor in state.items()
            if not key.startswith("data_preprocessor.")
        }
    return layout, state
