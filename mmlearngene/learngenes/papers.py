"""Readers of the checkpoints that the papers' released code writes; one function a method."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import LearngeneError, check_choice
from ..frameworks.timm import VIT
from ..io.checkpoints import check_values, load_state_dict
from ..utils.typed import Count, check_types
from ..vit.spec import ViTSpec
from ..vit.tensors import LAYER_TENSORS, row_of
from .base import Learngene
from .lets import LeTs
from .sws import SWS
from .tleg import TLEG

_MODULES = ("norm1", "q", "k", "v", "proj", "norm2", "fc1", "fc2")  # with coefficients of their own in LeTs
READERS: dict[str, Callable[..., Learngene]] = {}


def reader(method: str) -> Callable[[Callable], Callable]:
    """Decorator: register the reader of a method's official checkpoints."""
    return lambda function: READERS.setdefault(method, function)


def read_official(path: str | Path, method: str, head_dim: int = 64, **fields) -> Learngene:
    """Read a checkpoint of a paper's released code.

    Args:
        path: a ``.pth`` (with a ``model`` entry or flat), ``.safetensors``, or ``.npz`` with ``aux_official/`` arrays.
        method: the paper's method.
        head_dim: channels of a head, which the checkpoints do not say.
        **fields: fields of :class:`~mmlearngene.ViTSpec` that override what the method's code trained with.

    Raises:
        LearngeneError: the file cannot be read, or is not this method's checkpoint.
    """
    read = READERS[check_choice(method, READERS, "method")]
    own = list(inspect.signature(read).parameters)[2:]  # behind the tensors and the width of a head
    for name in fields:
        check_choice(name, {*own, *ViTSpec.__dataclass_fields__} - {"fields"}, f"{method} import option")
    check_types(read, fields)
    check_types(ViTSpec, fields)
    state = load_state_dict(path)
    prefix = "aux_official/"
    if any(key.startswith(prefix) for key in state):
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    check_values(path, state)
    try:
        learngene = read(state, head_dim, **fields)
    except (KeyError, StopIteration) as error:
        raise LearngeneError(
            f"{path} is not a checkpoint of the released {method} code: it has no tensor {error}; "
            f"its tensors start with {', '.join(list(state)[:3])}"
        ) from error
    except LearngeneError:
        raise
    except (RuntimeError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:  # where shapes do not fit
        raise LearngeneError(
            f"{path} is not a checkpoint of the released {method} code: its tensors have other shapes ({error})"
        ) from error
    learngene.provenance = {"imported_from": Path(path).name, "code": f"released {method}"}
    return learngene


def _heads(width: int, head_dim: int) -> int:
    if head_dim < 1 or width % head_dim:
        near = min((d for d in range(1, width + 1) if width % d == 0), key=lambda d: abs(d - head_dim))
        raise LearngeneError(f"head_dim={head_dim} does not divide the width {width}; the nearest that does is {near}")
    return width // head_dim


def _numbers(state: Mapping[str, Tensor], pattern: str) -> list[int]:
    """The sorted distinct numbers that the group of ``pattern`` matches in the keys."""
    return sorted({int(match[1]) for key in state if (match := re.fullmatch(pattern, key))})


def _image_fields(patch: Tensor, tokens: int, head: Tensor) -> dict:
    """Fields of the spec that follow from patch kernel, number of patches (a square) and head."""
    size = patch.shape[-1]
    return dict(
        patch_size=size, img_size=math.isqrt(tokens) * size, in_channels=patch.shape[1], num_classes=head.shape[0]
    )


@reader("lets")
def read_lets(state: Mapping[str, Tensor], head_dim: int, **fields) -> LeTs:
    """LeTs: ``__sm_*`` is the learngene, ``trans_width_*`` F, and ``trans_depth_weight`` of each distinct block G."""
    patch, positions = state["__sm_patch_embed_proj_weight"], state["pos_embed"]
    layers = len(_numbers(state, r"__sm_(\d+)_norm1_weight"))
    owners = _numbers(state, r"blocks\.(\d+)\.norm1\.trans_depth_weight\.trans_weight")
    group_layers = state["blocks.0.norm1.trans_depth_weight.trans_weight"].shape[0]
    groups, repeats = layers // group_layers, owners[1] - owners[0] if len(owners) > 1 else 1
    found = _image_fields(patch, positions.shape[1], state["__sm_head_weight"])
    vit = dict(head_dim=head_dim, mlp_ratio=state["__sm_0_mlp_fc1_weight"].shape[0] / patch.shape[0])
    learngene = LeTs(
        learngene=f"h{_heads(patch.shape[0], head_dim)}-l{layers}",
        aux=f"h{_heads(positions.shape[2], head_dim)}-l{len(owners) * repeats}",
        groups=groups,
        rows=len(owners) // groups,
        repeats=repeats,
        **{**found, **vit, "norm_eps": 1e-6, "pool": "avg_norm", **fields},
    )

    paths = {"norm1": "norm1", "proj": "attn.proj", "norm2": "norm2", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    paths |= {part: f"attn.{part}" for part in "qkv"}
    names = {"patch_embed": "patch_embed_proj", "norm": "fc_norm", "head": "head"}
    tensors: dict[str, Tensor] = {"pos_embed": positions[0]}
    for kind in ("weight", "bias"):
        for name, official in names.items():
            tensors[f"learngene.{name}.{kind}"] = state[f"__sm_{official}_{kind}"]
        stacked = {
            module: torch.stack([state[f"__sm_{i}_{path.replace('.', '_')}_{kind}"] for i in range(layers)])
            for module, path in paths.items()
        }
        stacked["qkv"] = torch.stack([stacked.pop(part) for part in "qkv"], 1)
        tensors |= {f"learngene.{module}.{kind}": tensor for module, tensor in stacked.items()}
        for module in _MODULES:
            rows = [state[f"blocks.{i}.{paths[module]}.trans_depth_weight.trans_{kind}"] for i in owners]
            tensors[f"maps.depth.{module}.{kind}"] = torch.stack(rows)
    tensors["maps.embed"] = state["patch_embed.trans_width_emb.trans_weight"]
    tensors["maps.head"] = state["trans_width_cls.trans_weight"]
    widths = {
        part: [state[f"blocks.{i}.trans_width_{part}.trans_weight"] for i in range(layers)]
        for part in ("q", "k", "v", "ffn")
    }
    tensors["maps.qkv"] = torch.stack([torch.stack(widths[part]) for part in "qkv"], 1)
    tensors["maps.ffn"] = torch.stack(widths["ffn"])

    _assign(learngene, tensors)
    return learngene


def _assign(learngene: Learngene, tensors: Mapping[str, Tensor]) -> None:
    """Load official tensors, heads and their channels split into axes of their own.

    Raises:
        LearngeneError: a tensor has another shape.
    """
    loaded = {}
    for name, parameter in learngene.named_parameters():
        expected = parameter.shape
        if name.startswith("learngene."):
            row = row_of(learngene.learngene_spec, name.removeprefix("learngene."))
            if (head := row.axis("head")) is not None:
                at = head + parameter.ndim - len(row.axis_names)
                expected = (*expected[:at], expected[at] * expected[at + 1], *expected[at + 2 :])
        if tuple(tensors[name].shape) != tuple(expected):
            raise LearngeneError(f"{name} is {tuple(tensors[name].shape)}, not {tuple(expected)}")
        loaded[name] = tensors[name].reshape(parameter.shape)
    learngene.load_state_dict(loaded, strict=True)


def _shared_aux(state: Mapping[str, Tensor], head_dim: int, num_layers: int, fields: Mapping) -> ViTSpec:
    """The Aux-Net of TLEG's and SWS's code, whose layers all share ``blocks.block``.

    It was trained with LayerNorm of eps 1e-5 on every token, then the mean (``norm_avg``); their descendants take the
    mean, then LayerNorm of eps 1e-6: that is ``pool='avg_norm'`` here.
    """
    patch = state["patch_embed.proj.weight"]
    pool = fields.get("pool", "norm_avg")
    found = dict(
        num_heads=_heads(patch.shape[0], head_dim),
        num_layers=num_layers,
        head_dim=head_dim,
        mlp_ratio=next(t for name, t in state.items() if ".fc1.instances.0.bias" in name).shape[0] / patch.shape[0],
        pool=pool,
        norm_eps=1e-6 if pool == "avg_norm" else 1e-5,
        **_image_fields(patch, state["pos_embed"].shape[1], state["head.weight"]),
    )
    return ViTSpec(**{**found, **fields})


def _shared_tensors(
    state: Mapping[str, Tensor], learngene: Learngene, instances: Sequence[tuple[int, str]]
) -> dict[str, Tensor]:
    """The learngene's tensors; its layers are ``instances``: number and suffix in the shared block's names."""
    spec, tensors = learngene.learngene_spec, {}
    for name in spec.shapes():
        if name in LAYER_TENSORS:
            key, _ = VIT.places(name, spec, 0)[0]
            module, _, kind = key.removeprefix("blocks.0.").rpartition(".")
            path = f"blocks.block.{module}.instances"
            tensor = torch.stack([state[f"{path}.{i}.{kind}{end}"] for i, end in instances])
            if name.startswith("qkv."):
                tensor = tensor.unflatten(1, (3, -1))
        else:
            key, part = VIT.places(name, spec.replace(pool="norm_avg"))[0]
            tensor = state[key][0] if part.lead else state[key]
        tensors[f"learngene.{name}"] = tensor
    return tensors


@reader("tleg")
def read_tleg(state: Mapping[str, Tensor], head_dim: int, num_layers: Count = 12, **fields) -> TLEG:
    """TLEG: one shared block whose parameters end in ``_base`` (theta_B) and ``_ilayer`` (theta_A).

    Args:
        state: the checkpoint's tensors.
        head_dim: channels of a head.
        num_layers: depth of the Aux-Net, which the checkpoint does not say.
        **fields: other fields of the spec; see :func:`_shared_aux` for the pooling order.
    """
    learngene = TLEG(aux=_shared_aux(state, head_dim, num_layers, fields))
    _assign(learngene, _shared_tensors(state, learngene, [(0, "_base"), (0, "_ilayer")]))
    return learngene


@reader("sws")
def read_sws(state: Mapping[str, Tensor], head_dim: int, stages: Sequence[Count] = (3, 3, 4, 3, 3), **fields) -> SWS:
    """SWS: ``instances.{stage}`` of one shared block.

    The released Aux-S has 12 heads of 32: it is read with ``head_dim=32``.

    Args:
        state: the checkpoint's tensors.
        head_dim: channels of a head.
        stages: Aux-Net layers in each stage, which the checkpoint does not say.
        **fields: other fields of the spec; see :func:`_shared_aux` for the pooling order.

    Raises:
        LearngeneError: the checkpoint has another number of stages.
    """
    found = _numbers(state, r"blocks\.block\.norm1\.instances\.(\d+)\.weight")
    if found and len(found) != len(stages):
        raise LearngeneError(f"stages={list(stages)} are {len(stages)}, but the checkpoint has {len(found)} stages")
    learngene = SWS(aux=_shared_aux(state, head_dim, sum(stages), fields), stages=stages)
    _assign(learngene, _shared_tensors(state, learngene, [(stage, "") for stage in range(len(stages))]))
    return learngene
