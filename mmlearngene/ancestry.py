"""Read a trained ViT, the ancestry, into canonical weights: a timm name, or a timm or mmpretrain checkpoint."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from . import files
from .errors import LearngeneError
from .layouts import LAYOUTS, SWIN, Layout
from .vit import ViTWeights


def load_ancestry(source: str | Path, num_heads: int | None = None, **fields) -> ViTWeights:
    """The weights of a trained ancestry: a ViT with or without class token, or mmpretrain's Swin.

    Args:
        source: a checkpoint file (``.pth``, ``.pt``, ``.bin``, ``.safetensors``) in timm's or mmpretrain's layout, or
            the name of a timm model, which is then loaded with ``pretrained=True``.
        num_heads: heads of a layer, which no tensor shows; a checkpoint's are taken to be 64 wide when omitted. A
            Swin's tensors do show them.
        **fields: other fields of :class:`~mmlearngene.ViTSpec` that a checkpoint does not show (``norm_eps``,
            ``pool``, ``img_size`` of an oblong image).

    Raises:
        LearngeneError: no such file or timm model, or not a plain ViT or Swin.
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
    return layout.from_state_dict(state, num_heads, **fields)


def _recognise(state: dict[str, Tensor]) -> tuple[Layout, dict[str, Tensor]]:
    """The layout, and the state dict with the prefixes that this layout expects."""
    for wrapper in ("module.", "model."):
        if all(key.startswith(wrapper) for key in state):
            state = {key.removeprefix(wrapper): tensor for key, tensor in state.items()}
    if "patch_embed.projection.weight" in state:  # a bare mmpretrain backbone
        state = {f"backbone.{key}": tensor for key, tensor in state.items()}
    layout = LAYOUTS["mmpretrain" if "backbone.patch_embed.projection.weight" in state else "timm"]
    if "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight" in state:
        layout = SWIN
    if layout.name == "mmpretrain":
        # mmpretrain's own ViT configs have a VisionTransformerClsHead, which is one more name for a linear layer
        state = {
            key.replace("head.layers.head.", "head.fc."): tensor
            for key, tensor in state.items()
            if not key.startswith("data_preprocessor.")
        }
    return layout, state
