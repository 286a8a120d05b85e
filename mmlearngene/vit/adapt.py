"""Make weights fit a ViT of other features where that is harmless, and say what was done."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..errors import LearngeneError
from .spec import WORDS, ViTSpec
from .weights import ViTWeights


def adapt_weights(weights: ViTWeights, wanted: ViTSpec) -> tuple[ViTWeights, list[str]]:
    """The weights for a ViT with the features of ``wanted``.

    ================================ ============================== =================================================
    the weights have                 the ViT has                    what is done
    ================================ ============================== =================================================
    no LayerScale                    one                            it starts at 1; the computation stays the same
    a LayerScale                     none                           it is folded into projection and fc2; the same
    no bias                          one                            it starts at 0; the same
    a bias of keys                   none                           it is dropped; the same without rotation and
                                                                    norm of queries and keys
    positions of prefix tokens       none                           they are added to the tokens; the same
    no positions of prefix tokens    some                           they start at 0; the same
    no positions                     learned ones                   they start at 0; the same
    a final norm                     none                           it is left out; *not* the same computation
    another pooling of one norm      mean, then norm; norm, then    the norm is inherited where it stands; *not* the
                                     mean; or class token           same computation
    ================================ ============================== =================================================

    Args:
        weights: of the sizes of ``wanted``.
        wanted: the ViT.

    Returns:
        The weights, and for each difference in words what was done.

    Raises:
        LearngeneError: a difference that cannot be made harmless; the message names the feature.
    """
    own, other = weights.spec.features(), wanted.features()
    done, changed = [], {}
    result = ViTWeights(weights.spec, dict(weights.tensors), weights.layer_map)
    for name, value in other.items():
        if value == own[name]:
            continue
        rule = _RULES.get(name)
        words = rule(result, wanted) if rule else None
        if words is None:
            raise LearngeneError(
                f"{WORDS.get(name, name)}: {name}={own[name]} cannot be made {name}={value} without changing what is "
                "computed"
            )
        done.append(words)
        changed[name] = getattr(wanted, name)
    result.spec = weights.spec.replace(**changed)
    return result, done


def fitting_specs(spec: ViTSpec) -> Iterator[ViTSpec]:
    """Specs that the weights of ``spec`` can be adapted to without changing the computation, the nearest first."""
    choices = [
        [{}, dict(patch_bias=True)],
        [{}, dict(proj_bias=True, mlp_bias=True)],
        [{}, dict(qkv_bias="all")],
        [{}, dict(init_values=spec.init_values or 1.0)],
        [{}, dict(no_embed_class=not spec.no_embed_class)],
        [{}, dict(init_values=None)],
    ]
    combined = itertools.product(*choices)
    for changes in sorted(combined, key=lambda dicts: sum(map(bool, dicts))):
        yield spec.replace(**{name: value for change in changes for name, value in change.items()})


def _layer_widths(weights: ViTWeights) -> list[tuple[Tensor, int]]:
    """For each distinct layer a tensor of its kind and device, and its width; none where no layer is given."""
    return [(tensor, tensor.shape[0]) for tensor in weights.tensors.get("proj.weight", [])]


def _layer_scale(weights: ViTWeights, wanted: ViTSpec) -> str:
    tensors = weights.tensors
    if wanted.init_values is not None:
        for name in ("ls1.gamma", "ls2.gamma"):
            tensors[name] = [like.new_ones(width) for like, width in _layer_widths(weights)]
        return "LayerScale starts at 1"
    for scale, module in (("ls1.gamma", "proj"), ("ls2.gamma", "fc2")):
        gammas = tensors.pop(scale, [])
        for kind in ("weight", "bias"):
            name = f"{module}.{kind}"
            if name in tensors and len(gammas):
                pairs = zip(tensors[name], gammas, strict=True)
                tensors[name] = [tensor * gamma.view(-1, *[1] * (tensor.ndim - 1)) for tensor, gamma in pairs]
    return "LayerScale is folded into the projection and fc2"


def _zero_bias(*names: str) -> Callable[[ViTWeights, ViTSpec], str | None]:
    """A rule that starts biases at 0 where the ViT has them; where it has not, they are not dropped."""

    def rule(weights: ViTWeights, wanted: ViTSpec) -> str | None:
        shapes = {**wanted.stem_shapes(), **wanted.layer_shapes()}
        if not all(name in shapes for name in names):
            return None
        for name in names:
            matrix = weights.tensors.get(name.replace("bias", "weight"))
            if name in wanted.stem_shapes() and matrix is not None:
                weights.tensors[name] = matrix.new_zeros(matrix.shape[0])
            elif matrix is not None:
                weights.tensors[name] = [
                    like.new_zeros(like.shape[:-1] if "fc1" in name else like.shape[0]) for like in matrix
                ]
        return f"{' and '.join(names)} start at 0"

    return rule


def _qkv_bias(weights: ViTWeights, wanted: ViTSpec) -> str | None:
    have, tensors = weights.spec.qkv_bias, weights.tensors
    matrices = tensors.get("qkv.weight", [])
    if wanted.qkv_bias == "none" or (have == "all" and (wanted.rope != "none" or wanted.qk_norm)):
        return None
    if have == "none":
        parts = 2 if wanted.qkv_bias == "qv" else 3
        tensors["qkv.bias"] = [matrix.new_zeros(parts, *matrix.shape[1:-1]) for matrix in matrices]
        return "biases of queries, keys and values start at 0"
    biases = tensors.get("qkv.bias", [])
    if have == "qv":
        tensors["qkv.bias"] = [torch.stack([b[0], torch.zeros_like(b[0]), b[1]]) for b in biases]
        return "the bias of keys starts at 0"
    tensors["qkv.bias"] = [b[[0, 2]] for b in biases]  # softmax does not see what all keys have in common
    return "the bias of keys, which has no effect, is dropped"


def _prefix_positions(weights: ViTWeights, wanted: ViTSpec) -> str | None:
    tensors, spec = weights.tensors, weights.spec
    positions, count = tensors.get("pos_embed"), wanted.num_prefix_tokens
    if positions is None or spec.num_prefix_tokens != count:
        return None if positions is not None else "no positions are inherited"
    if not wanted.no_embed_class:
        tensors["pos_embed"] = torch.cat([positions.new_zeros(count, positions.shape[1]), positions])
        return "positions of the prefix tokens start at 0"
    row = 0
    for name in ("cls_token", "dist_token", "reg_tokens"):
        if name in tensors:
            rows = 1 if tensors[name].ndim == 1 else len(tensors[name])
            tensors[name] = tensors[name] + positions[row : row + rows].reshape(tensors[name].shape)
            row += rows
    tensors["pos_embed"] = positions[count:]
    return "positions of the prefix tokens are added to them"


def _positions(weights: ViTWeights, wanted: ViTSpec) -> str | None:
    if wanted.pos_embed != "learn":
        return None
    like = weights.tensors.get("patch_embed.weight")
    if like is not None:
        weights.tensors["pos_embed"] = like.new_zeros(wanted.num_positions, wanted.embed_dims)
    return "positions start at 0"


def _final_norm(weights: ViTWeights, wanted: ViTSpec) -> str | None:
    if wanted.final_norm:
        return None
    for name in ("norm.weight", "norm.bias"):
        weights.tensors.pop(name, None)
    return "the final norm is left out: not the same computation"


def _pool(weights: ViTWeights, wanted: ViTSpec) -> str | None:
    if "map" in (weights.spec.pool, wanted.pool) or not (weights.spec.final_norm and wanted.final_norm):
        return None
    where = {"avg_norm": "behind the mean", "norm_avg": "before the mean", "cls": "on the class token"}
    return f"the final norm acts {where[wanted.pool]} instead of {where[weights.spec.pool]}: not the same computation"


_RULES: dict[str, Callable[[ViTWeights, ViTSpec], str | None]] = {
    "init_values": _layer_scale,
    "patch_bias": _zero_bias("patch_embed.bias"),
    "proj_bias": _zero_bias("proj.bias"),
    "mlp_bias": _zero_bias("fc1.bias", "fc2.bias"),
    "qkv_bias": _qkv_bias,
    "no_embed_class": _prefix_positions,
    "pos_embed": _positions,
    "pool": _pool,
    "final_norm": _final_norm,
    "norm_eps": lambda weights, wanted: f"norm_eps is {wanted.norm_eps}",
}
