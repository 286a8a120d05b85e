"""Read a trained ViT of any framework, the ancestry, into canonical weights."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from safetensors import safe_open
from torch import Tensor, nn

from ..errors import LearngeneError, NotShown, check_choice, in_words
from ..frameworks import FRAMEWORKS, check_function, find_vit, tables, weights_of
from ..frameworks.base import UNSEEN, Layout
from ..frameworks.live import left_aside
from ..frameworks.modules import tool_of
from ..io.checkpoints import entries_of, load_state_dict
from ..io.config_files import read_config
from ..io.paths import CHECKPOINT_SUFFIXES, existing
from ..utils.typed import check_types, shortened
from ..vit.spec import ViTSpec
from ..vit.weights import ViTWeights
from .hf_folder import hugging_face_model, note_aside
from .original import in_timm_names, of_pretraining

_LOGGER = logging.getLogger("mmlearngene")
CHECKPOINTS = (*CHECKPOINT_SUFFIXES, ".safetensors")
_OF_FOLDERS = ("model.safetensors", "pytorch_model.bin")  # in a folder of Hugging Face or timm, beside its config
# what a model that is like a checkpoint's tells of it: all that tensors do not show
_TOLD = (
    *UNSEEN, "no_embed_class", "pool_include_prefix", "attn_pool_num_heads", "attn_pool_mlp_ratio", "rope_temperature",
    "rope_offset", "rope_indexing", "rope_half", "rope_ref_grid", "init_values",
)  # fmt: skip
# what torch adds to names of modules that it wraps, anywhere in a model
_INNER_WRAPPERS = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.(?!flat_param)")
Source = str | Path | nn.Module | ViTWeights


def load_ancestry(
    source: Source,
    like: str | Path | nn.Module | ViTSpec | None = None,
    *,
    path: str | None = None,
    verify: bool | None = None,
    **fields,
) -> ViTWeights:
    """The weights of a trained ViT or Swin of timm, Hugging Face, mmpretrain or mmsegmentation.

    What is beside it in the model (a neck, a decode head, a pre-training decoder) is left aside, which is said in one
    line.

    Args:
        source: a live model that is one or holds one; a Hugging Face folder (``config.json`` and weights); a checkpoint
            file (``.pth``, ``.pt``, ``.bin``, ``.npz``, ``.safetensors``), also under the names of its authors' own
            code; or the name of a timm model, which is then
            loaded with ``pretrained=True``.
        like: for a checkpoint, whose tensors do not show heads, activation, epsilon, pooling, positions that rotate: a
            model that is like it: a timm name, a Hugging Face folder, an OpenMMLab config (``.py``), a live model or a
            spec. Sizes are the checkpoint's own. A file of our own says what it is.
        path: where in a model or file that holds several ViTs the one is: the start of its names, ``student.backbone``
            say, or the entry of the file, ``state_dict_ema``.
        verify: whether a live model is run on one random image beside one that its class makes anew, so that nothing
            that was replaced, hooked or patched in it is overlooked; when None, unless that takes more than a second or
            two and nothing looks changed.
        **fields: fields of :class:`~mmlearngene.ViTSpec` for a checkpoint, beside or instead of ``like``:
            ``num_heads``, ``act``, ``norm_eps``, ``pool``, ``img_size`` of an oblong image, ...

    Raises:
        LearngeneError: no such file, folder or timm model; it is no ViT that is known here; or a field is not known.
            Nothing is guessed. Or its weights are not finite, or not of one floating type.
    """
    if isinstance(source, (ViTWeights, nn.Module)):
        _check_untold(source, like, fields)
        return source if isinstance(source, ViTWeights) else _of_model(source, path, verify)
    file = Path(os.path.expanduser(source))
    told = like is not None or fields
    if file.name in _OF_FOLDERS and not told and file.is_file() and (file.parent / "config.json").is_file():
        file = file.parent
    if file.is_dir():
        _check_whole_model(file)
        _check_untold(source, like, fields)
        return _of_model(hugging_face_model(file), path, verify=False)
    if file.suffix in CHECKPOINTS or file.exists():
        for name in fields:
            check_choice(name, ViTSpec.__dataclass_fields__, "field of a ViT")
        check_types(ViTSpec, fields)
        return _of_checkpoint(existing(file), like, path, fields)
    name = _timm_name(str(source))
    _check_untold(source, like, fields)
    return _of_model(_pretrained(name), path, verify=False)


def _pretrained(name: str) -> nn.Module:
    """timm's model of a name with its weights, from the cache or the network.

    Raises:
        LearngeneError: timm has no weights of it, or they cannot be had.
    """
    cfg = timm.get_pretrained_cfg(name)
    if cfg is None or not cfg.has_weights:
        known = timm.list_pretrained(f"*{name.partition('.')[0][:12]}*")[:3]
        raise LearngeneError(f"timm has no weights of {name!r}; nearest with weights: {', '.join(known) or 'none'}")
    try:
        return timm.create_model(name, pretrained=True)
    except Exception as error:  # of the hub, the network or a cache, each its own kind
        raise LearngeneError(
            f"the weights of {name!r} are in no cache and cannot be downloaded ({shortened(in_words(error), 120)}); "
            "expected a checkpoint file of them, with --like and this name"
        ) from error


def _check_whole_model(folder: Path) -> None:
    """A folder is a model's own, not what is added to one or one process's parts of it."""
    if (folder / "adapter_config.json").is_file():
        raise LearngeneError(f"{folder} has an adapter (LoRA, ...); merge it first (merge_and_unload)")
    if (folder / ".metadata").is_file() or any(folder.glob("*.distcp")):
        raise LearngeneError(
            f"{folder} is a sharded checkpoint of torch.distributed; join it first (python -m "
            "torch.distributed.checkpoint.format_utils dcp_to_torch)"
        )


def _check_untold(source: Source, like: object, fields: Mapping) -> None:
    """What says everything about itself is not told more."""
    told = [*(["like"] if like is not None else []), *fields]
    if told:
        what = type(source).__name__ if isinstance(source, (nn.Module, ViTWeights)) else source
        raise LearngeneError(
            f"{what} says itself what it is; {', '.join(told)} can only be given for a checkpoint file"
        )


def _of_model(model: nn.Module, path: str | None, verify: bool | None) -> ViTWeights:
    """The weights of a live model."""
    found = find_vit(model, path)
    check_function(found, model, verify)
    for note in found.notes:
        _LOGGER.warning("%s: %s", type(model).__name__, note)
    note_aside(type(model).__name__, left_aside(found, model))
    return weights_of(found, model)


def _timm_name(name: str) -> str:
    """A name that timm has, with a tag that it has if there is one.

    Raises:
        LearngeneError: it has not; names the nearest.
    """
    base, _, tag = name.partition(".")
    if not timm.is_model(name):
        raise LearngeneError(
            f"{name!r} is neither a checkpoint file ({', '.join(CHECKPOINTS)}), a folder nor a timm model; "
            f"nearest timm models: {', '.join(timm.list_models(f'*{name[:8]}*')[:3]) or 'none'}"
        )
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        known = [each.partition(".")[2] for each in timm.list_pretrained(f"{base}.*")]
        raise LearngeneError(
            f"timm has no weights {tag!r} of {base}; expected one of {', '.join(known) or 'none'}, or no tag"
        ) from error
    return name


def _of_checkpoint(
    path: Path, like: str | Path | nn.Module | ViTSpec | None, inside: str | None, fields: dict
) -> ViTWeights:
    state = _part_of(path, _without_wrapper(load_state_dict(path, inside, ask=True)), inside)
    if tool := tool_of(state):
        raise LearngeneError(f"{path}: {tool}")
    spec, layout = (_own_spec(path), None) if like is None else _spec_like(like)
    errors = []
    for form in itertools.chain([state], in_timm_names(state)):
        try:
            weights = _of_state(path, form, spec, layout, fields)
        except LearngeneError as error:
            errors.append(error)
        else:
            if form is not state:
                note_aside(path.name, of_pretraining(state))
            return weights
    asked = [error for error in errors if isinstance(error.__cause__, NotShown)]  # the nearest to being read
    raise (asked or errors)[0]


def _of_state(
    path: Path, state: dict[str, Tensor], spec: ViTSpec | None, layout: Layout | None, fields: dict
) -> ViTWeights:
    """The weights of a checkpoint's state dict in names that a framework has."""
    candidates = [layout for name in FRAMEWORKS for layout in tables(name) if layout.recognises(state)]
    if not candidates:
        raise LearngeneError(
            f"{path} is no ViT in a layout that is known here ({', '.join(FRAMEWORKS)}); its tensors start with "
            f"{', '.join(list(state)[:3])}"
            + ("; of a Hugging Face folder expected the folder, with its config.json" * _is_of_folder(state))
        )
    if len(places := list(dict.fromkeys(place for layout in candidates for place in layout.all_places(state)))) > 1:
        names = [place.rstrip(".") or "the file itself" for place in places]
        raise LearngeneError(
            f"{path} holds {len(places)} ViTs: {', '.join(names)}; say which, as in path={names[-1]!r} (--path)"
        )
    candidates = [c for c in candidates if layout is None or c.cls == layout.cls] or candidates
    errors = []
    for layout in candidates:
        try:
            weights = _take(layout, state, spec, fields)
        except LearngeneError as error:
            errors.append(error)
        else:
            inside, around = layout.where(state)
            note_aside(path.name, layout.beside(state, inside, layout.head_keys(around)))
            return weights
    error = next((error for error in errors if isinstance(error, NotShown)), errors[0])  # the nearest to being read
    raise LearngeneError(f"{path}: {error}") from error


def _is_of_folder(state: Mapping[str, Tensor]) -> bool:
    """Whether names are those on a disk of transformers, whose models have others in memory."""
    return any(re.search(r"(^|\.)(embeddings|encoder\.layers?\.0)\.", name) for name in state)


def _part_of(path: Path, state: dict[str, Tensor], inside: str | None) -> dict[str, Tensor]:
    """The tensors of a file whose names start with a path, or all where the path is an entry of the file."""
    part = {name: tensor for name, tensor in state.items() if inside is None or name.startswith(f"{inside}.")}
    if part or inside is None:
        return part
    known = list(dict.fromkeys(name.partition(".")[0] for name in state))
    if inside in entries_of(path):
        return state
    raise LearngeneError(f"{path} has nothing at path={inside!r}; its names start with {', '.join(known[:5])}")


def _without_wrapper(state: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {_INNER_WRAPPERS.sub("", key): tensor for key, tensor in state.items()}
    for wrapper in ("module.", "model."):
        if all(key.startswith(wrapper) for key in state):
            state = {key.removeprefix(wrapper): tensor for key, tensor in state.items()}
    return state


def _own_spec(path: Path) -> ViTSpec | None:
    """The spec that a file of our own (``mmlearngene expand``) says it is for."""
    if path.suffix != ".safetensors":
        return None
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get("spec")
    try:
        return ViTSpec.parse(json.loads(text)) if text else None
    except (LearngeneError, ValueError):
        return None


def _model_of_config(path: Path) -> nn.Module:
    """The model of an OpenMMLab config, at its start values."""
    from mmengine.registry import DefaultScope

    from ..registry import MODELS  # the OpenMMLab side, which the core does without

    cfg = read_config(path)
    if "model" not in cfg:
        raise LearngeneError(f"{path} has no model")
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope") or "mmpretrain"):
        return MODELS.build(cfg.model)


def _spec_like(like: str | Path | nn.Module | ViTSpec) -> tuple[ViTSpec, Layout | None]:
    """The spec of a model that a checkpoint is like, and its layout where that is known."""
    if isinstance(like, ViTSpec):
        return like, None
    if not isinstance(like, nn.Module):
        path = Path(like)
        if path.is_dir():
            like = hugging_face_model(path, weights=False)
        elif path.suffix == ".py":
            like = _model_of_config(existing(path))
        else:
            with torch.device("meta"):
                like = timm.create_model(_timm_name(str(like)))
    found = find_vit(like)
    return found.spec, found.layout


def _take(layout: Layout, state: Mapping[str, Tensor], like: ViTSpec | None, fields: dict) -> ViTWeights:
    """Read a state dict with what is told of it, and for the rest with the spec that it is like.

    Raises:
        NotShown: tensors and the other spec do not say how many heads or what image there is.
    """
    vit, head = layout.split(state)
    of_other = {name: getattr(like, name) for name in _TOLD if name != "num_heads"} if like else {}
    told = {**of_other, **fields}
    of_size = ("pool", "num_heads", "init_values")
    known = {name: value for name, value in told.items() if name not in of_size or isinstance(value, tuple)}
    if like and isinstance(like.num_heads, tuple) and like.depths is None:  # a Swin's tables show its heads
        known.setdefault("num_heads", like.num_heads)
    shown = layout.infer(vit, head, **known)
    if like and "norm" not in fields and not layout.shows("norm", shown):
        if like.norm != shown.norm:
            raise LearngeneError(
                "its norms have no biases, and those of what it is like have: LayerNorm without bias is not known here"
            )
        told["norm"] = like.norm
    if like and "num_heads" not in fields and not layout.shows("num_heads", shown):
        told["num_heads"] = _heads_like(shown, like)
    same_grid = like and (shown.patch_size, shown.window_size) == (like.patch_size, like.window_size)
    if same_grid and "img_size" not in fields and not layout.shows("img_size", shown):
        told["img_size"] = like.img_size
    for name in ("pool", "num_heads"):
        if layout.shows(name, shown):
            told.pop(name, None)
    if shown.init_values is None:
        told.pop("init_values", None)
    return layout.from_state_dict(state, **told)


def _heads_like(shown: ViTSpec, like: ViTSpec) -> int | tuple[int, ...]:
    """The heads of a ViT that a checkpoint is like, where it is as wide: another width may have any."""
    same = shown.embed_dims == like.embed_dims and shown.heads[0] * shown.head_dim == like.heads[0] * like.head_dim
    if same and (isinstance(like.num_heads, int) or shown.num_layers == like.num_layers):
        return like.num_heads
    near = max(1, shown.heads[0] * shown.head_dim // like.head_dim)
    raise NotShown(
        f"it is {shown.embed_dims} wide with {shown.num_layers} layers, and what it is like {like.embed_dims} with "
        f"{like.num_layers}, which does not tell its heads; expected num_heads={near} (--num-heads {near}) if heads "
        f"have {like.head_dim} channels as there, or another number"
    )
