"""The weights of a Vision Transformer in canonical form, which layers share them, and how they are resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table_simple
from torch import Tensor

from ..errors import LearngeneError, did_you_mean
from .spec import ViTSpec
from .tensors import LAYER_TENSORS, check_table
from .tensors import spread as spread

# the parts of a ViT that the papers' ablations leave out, as patterns of canonical names
PARTS = {
    "msa": ("qkv.*", "[qk]_norm.*", "bias_table", "rope_freqs", "logits.*", "values.*", "attn_norm.*", "proj.*"),
    "mlp": ("fc1.*", "mlp_norm.*", "fc2.*"),
    "ln": ("patch_norm.*", "norm_pre.*", "norm1.*", "norm2.*", "downsample*.norm.*", "norm.*"),
    "patch_embed": ("patch_embed.*",),
    "pos_embed": ("pos_embed",),
}


@dataclass
class ViTWeights:
    """The weights of a ViT in canonical form.

    Args:
        spec: the ViT they are for.
        tensors: canonical name -> tensor, see :mod:`mmlearngene.vit.tensors`. Tensors of a layer have a leading axis
            over *distinct* layers, or are a list of them where they differ in shape. Tensors may be missing: the ViT
            keeps its own initial values there.
        layer_map: for each layer of the ViT, its entry on that leading axis; None where nothing is given for the
            layer. Defaults to one entry a layer. Layers that share weights share an entry, so that each distinct
            layer is computed and stored once.
    """

    spec: ViTSpec
    tensors: dict[str, Tensor | Sequence[Tensor]]
    layer_map: tuple[int | None, ...] = ()

    def __post_init__(self) -> None:
        self.layer_map = tuple(self.layer_map) or tuple(range(self.spec.num_layers))
        if len(self.layer_map) != self.spec.num_layers:
            raise LearngeneError(f"layer_map has {len(self.layer_map)} entries for {self.spec.num_layers} layers")

    def stem(self) -> dict[str, Tensor]:
        """The tensors outside the layers."""
        return {name: tensor for name, tensor in self.tensors.items() if name not in LAYER_TENSORS}

    def layers(self) -> list[dict[str, Tensor]]:
        """The tensors of each layer, unstacked; layers that share an entry share the very same tensors."""
        # unbind, not indexing: its backward is one stack, where indexing would pad every layer's gradient with zeros
        rows = {
            name: tensor.unbind() if isinstance(tensor, Tensor) else tensor
            for name, tensor in self.tensors.items()
            if name in LAYER_TENSORS
        }
        return [{} if entry is None else {name: row[entry] for name, row in rows.items()} for entry in self.layer_map]

    @classmethod
    def from_layers(cls, spec: ViTSpec, stem: dict[str, Tensor], layers: Sequence[dict[str, Tensor]]) -> ViTWeights:
        """Weights from the tensors outside the layers and those of each layer, stacked where their shapes agree."""
        columns = {name: [layer[name] for layer in layers] for name in (layers[0] if layers else {})}
        for name, column in columns.items():
            if len({tensor.shape for tensor in column}) == 1:
                columns[name] = torch.stack(column)
        return cls(spec, {**stem, **columns})

    def without(self, skip: str | Sequence[str]) -> ViTWeights:
        """The same weights without some tensors, see :func:`tensors_named`."""
        left_out = tensors_named(skip, self.spec)
        kept = {name: tensor for name, tensor in self.tensors.items() if name not in left_out}
        return ViTWeights(self.spec, kept, self.layer_map)

    def resample(self, spec: ViTSpec) -> ViTWeights:
        """The same weights for another image or patch size, resampled by timm.

        Patch kernels follow FlexiViT's pseudo-inverse resize (Beyer et al., CVPR 2023), positions and tables of
        relative positions a bicubic one.
        """
        old, tensors = self.spec, dict(self.tensors)
        if spec.patch_size != old.patch_size and "patch_embed.weight" in tensors:
            size = [spec.patch_size, spec.patch_size]
            tensors["patch_embed.weight"] = resample_patch_embed(tensors["patch_embed.weight"], size)
        if spec.grid != old.grid and "pos_embed" in tensors:
            tensors["pos_embed"] = resample_abs_pos_embed(
                tensors["pos_embed"][None],
                new_size=list(spec.grid),
                old_size=list(old.grid),
                num_prefix_tokens=spec.prefix_positions,
            )[0]
        if spec.num_offsets != old.num_offsets and "bias_table" in tensors:
            tensors["bias_table"] = [_resized_table(table, old, spec) for table in tensors["bias_table"]]
        return ViTWeights(spec, tensors, self.layer_map)


def with_head(weights: ViTWeights, weight: Tensor, bias: Tensor) -> ViTWeights:
    """The same weights with a linear classifier, (outputs, width) and (outputs,)."""
    tensors = {**weights.tensors, "head.weight": weight, "head.bias": bias}
    return ViTWeights(weights.spec.replace(num_classes=len(weight)), tensors, weights.layer_map)


def _resized_table(table: Tensor, old: ViTSpec, new: ViTSpec) -> Tensor:
    check_table(old, new)
    # timm's simple one: it is differentiable, where the geometric one goes through scipy
    return resize_rel_pos_bias_table_simple(table, new.grid, (new.num_offsets, table.shape[1]))


def tensors_named(skip: str | Sequence[str], spec: ViTSpec) -> set[str]:
    """Canonical names of the tensors of a ViT that ``skip`` names.

    Args:
        skip: parts of a ViT (``msa``, ``mlp``, ``ln``, ``patch_embed``, ``pos_embed``) or patterns of canonical names
            in the manner of a shell (``qkv.*``, ``fc?.bias``): a list, or one text with commas.
        spec: the ViT.

    Raises:
        LearngeneError: an entry names no tensor of this ViT; says which are there and the nearest.
    """
    names, found = [*spec.stem_shapes(), *spec.layer_shapes()], set()
    for entry in skip.split(",") if isinstance(skip, str) else skip:
        patterns = PARTS.get(entry, (entry,))
        matched = {name for name in names if any(fnmatchcase(name, str(pattern)) for pattern in patterns)}
        if not matched:
            hint = did_you_mean(entry, [*PARTS, *names])
            raise LearngeneError(
                f"skip: {entry!r} names no tensor of {spec}; expected {', '.join(PARTS)}, or a pattern such as "
                f"'qkv.*'.{hint}"
            )
        found |= matched
    return found
