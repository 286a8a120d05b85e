"""Checkpoints under the names of their authors' own code, as timm names them.

timm knows these names, as its models are made from such files. Here nothing is resized, and nothing that decides what
is computed is dropped: what timm leaves out without a word (a decoder, a mask token) is dropped here by its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace

from timm.models import eva, vision_transformer
from torch import Tensor

State = Mapping[str, Tensor]
# of pre-training alone, in files of DINOv2, DINOv3, MAE, BEiT and EVA-02
_PRETRAINING = r"(mask_token|lm_head\..*|decoder_.*|(local_cls_norm|dino_head|ibot_head|projectors)\..*)"
_CHUNKS = r"^blocks\.\d+\.(\d+\.)"  # of DINOv2, which wraps its layers in chunks


def in_timm_names(state: State) -> Iterator[dict[str, Tensor]]:
    """The state dict of a checkpoint under timm's names, for each kind of original that its names could be of.

    Args:
        state: the original's names -> tensors.
    """
    kept = {re.sub(_CHUNKS, r"blocks.\1", name): t for name, t in state.items() if not re.fullmatch(_PRETRAINING, name)}
    for is_one, converted in _KINDS:
        if is_one(kept):
            yield converted(kept)
    if kept.keys() != state.keys():
        yield kept


def of_pretraining(state: State) -> list[str]:
    """Names of the parts of an original that are no ViT's: a decoder, a mask token, CLIP's text tower."""
    towers = any(name.startswith("visual.") for name in state)
    aside = (name for name in state if re.fullmatch(_PRETRAINING, name) or (towers and not name.startswith("visual.")))
    return list(dict.fromkeys(name.partition(".")[0] for name in aside))


def _stub(state: State) -> SimpleNamespace:
    """What timm's converters ask a model for, so that they resize nothing and keep all biases."""
    patch = next((tensor for tensor in state.values() if tensor.ndim == 4), None)
    return SimpleNamespace(
        patch_embed=SimpleNamespace(proj=SimpleNamespace(weight=patch)),
        pos_embed=None,
        head=None,
        get_parameter=lambda name: None,
    )


def _by(convert: Callable) -> Callable[[State], dict[str, Tensor]]:
    return lambda state: convert(dict(state), _stub(state))


def _dinov2(state: State) -> dict[str, Tensor]:
    return vision_transformer._convert_dinov2(dict(state), None)


def _deit3(state: State) -> dict[str, Tensor]:
    return {re.sub(r"\.gamma_([12])$", r".ls\1.gamma", name): tensor for name, tensor in state.items()}


def _swin(state: State) -> dict[str, Tensor]:
    """Microsoft's: a stage ends with the downsampling that timm's next one starts with."""

    def renamed(name: str) -> str:
        name = re.sub(r"layers\.(\d+)\.downsample", lambda match: f"layers.{int(match[1]) + 1}.downsample", name)
        return re.sub(r"^head\.", "head.fc.", name)

    return {renamed(name): tensor for name, tensor in state.items()}


def _has(*names: str) -> Callable[[State], bool]:
    return lambda state: any(name in state for name in names)


def _is_dinov3(state: State) -> bool:
    """With biases of keys masked, as timm's converter takes them to be."""
    masks = [t for name, t in state.items() if name.endswith("qkv.bias_mask")]
    parts = [part for mask in masks for part in zip(mask.chunk(3), (1, 0, 1), strict=True)]
    return "storage_tokens" in state and all(bool((part == value).all()) for part, value in parts)


_KINDS = (
    (_has("visual.class_embedding", "module.visual.class_embedding"), _by(vision_transformer.checkpoint_filter_fn)),
    (_has("visual.trunk.blocks.0.norm1.weight"), _by(vision_transformer.checkpoint_filter_fn)),
    (_has("preprocessor.patchifier.proj.weight"), _by(vision_transformer.checkpoint_filter_fn)),
    (_has("beit3.vision_embed.proj.weight"), _by(vision_transformer.checkpoint_filter_fn)),
    (_is_dinov3, _by(eva.checkpoint_filter_fn)),
    (_has("register_tokens", "blocks.0.mlp.w12.weight"), _dinov2),
    (_has("blocks.0.mlp.w1.weight", "blocks.0.attn.inner_attn_ln.weight"), _by(eva.checkpoint_filter_fn)),
    (_has("blocks.0.gamma_1"), _deit3),
    (_has("layers.0.downsample.reduction.weight"), _swin),
)
