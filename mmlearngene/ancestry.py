"""Read a trained ViT of any framework, the ancestry, into canonical weights; and take learngenes out of one."""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import os
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import timm
import torch
from safetensors import safe_open
from torch import Tensor, nn

from . import files
from .attention import mean_attention_distance, read_images
from .errors import LearngeneError, NotShown, check_choice
from .layouts import FRAMEWORKS, Found, find_vit, tables, weights_of
from .layouts.base import HEAD_TENSORS, UNSEEN, Layout, some
from .layouts.live import left_aside
from .learngenes import LEARNGENES
from .learngenes.extracted import Extracted, extraction_methods
from .learngenes.methods import find_method
from .preprocessing import preprocessing_of
from .spec import MAX, ViTSpec
from .typed import check_types, shortened
from .weights import ViTWeights

_LOGGER = logging.getLogger("mmlearngene")
CHECKPOINTS = (*files.CHECKPOINT_SUFFIXES, ".safetensors")
IMAGE_OPTIONS = ("data", "num_images", "seed", "preprocessing")
# what a model that is like a checkpoint's tells of it: all that tensors do not show
_TOLD = (
    *UNSEEN, "no_embed_class", "pool_include_prefix", "attn_pool_num_heads", "attn_pool_mlp_ratio", "rope_temperature",
    "rope_offset", "rope_indexing", "rope_half", "rope_ref_grid", "init_values",
)  # fmt: skip

# entries of a Hugging Face config that are fields of a spec, as far as they are large where a model is
_HF_SIZES = dict(
    num_hidden_layers="num_layers", num_attention_heads="num_heads", hidden_size="embed_dims", embed_dim="embed_dims",
    image_size="img_size", patch_size="patch_size", num_channels="in_channels", num_register_tokens="reg_tokens",
    depths="depths", num_heads="num_heads", num_labels="num_classes", window_size="window_size", mlp_ratio="mlp_ratio",
)  # fmt: skip

Source = str | Path | nn.Module | ViTWeights


def load_ancestry(source: Source, like: str | Path | nn.Module | ViTSpec | None = None, **fields) -> ViTWeights:
    """The weights of a trained ViT or Swin of timm, Hugging Face, mmpretrain or mmsegmentation.

    What is beside it in the model (a neck, a decode head, a pre-training decoder) is left aside, which is said in one
    line.

    Args:
        source: a live model that is one or holds one; a Hugging Face folder (``config.json`` and weights); a checkpoint
            file (``.pth``, ``.pt``, ``.bin``, ``.npz``, ``.safetensors``); or the name of a timm model, which is then
            loaded with ``pretrained=True``.
        like: for a checkpoint, whose tensors do not show heads, activation, epsilon, pooling, positions that rotate: a
            model that is like it: a timm name, a Hugging Face folder, an OpenMMLab config (``.py``), a live model or a
            spec. Sizes are the checkpoint's own. A file of our own says what it is.
        **fields: fields of :class:`~mmlearngene.ViTSpec` for a checkpoint, beside or instead of ``like``:
            ``num_heads``, ``act``, ``norm_eps``, ``pool``, ``img_size`` of an oblong image, ...

    Raises:
        LearngeneError: no such file, folder or timm model; it is no ViT that is known here; or a field is not known.
            Nothing is guessed. Or its weights are not finite, or not of one floating type.
    """
    if isinstance(source, (ViTWeights, nn.Module)):
        _check_untold(source, like, fields)
        return source if isinstance(source, ViTWeights) else _of_model(source)
    path = Path(os.path.expanduser(source))
    if path.is_dir():
        _check_untold(source, like, fields)
        model, missing = hugging_face_model(path)
        return _of_model(model, missing)
    if path.suffix in CHECKPOINTS or path.exists():
        for name in fields:
            check_choice(name, ViTSpec.__dataclass_fields__, "field of a ViT")
        check_types(ViTSpec, fields)
        return _of_checkpoint(files.existing(path), like, fields)
    name = _timm_name(str(source))
    _check_untold(source, like, fields)
    return _of_model(timm.create_model(name, pretrained=True))


def _check_untold(source: Source, like: object, fields: Mapping) -> None:
    """What says everything about itself is not told more."""
    told = [*(["like"] if like is not None else []), *fields]
    if told:
        what = type(source).__name__ if isinstance(source, (nn.Module, ViTWeights)) else source
        raise LearngeneError(
            f"{what} says itself what it is; {', '.join(told)} can only be given for a checkpoint file"
        )


def _of_model(model: nn.Module, missing: Collection[str] = ()) -> ViTWeights:
    """The weights of a live model, of which those named ``missing`` were in no file and are start values."""
    found = find_vit(model)
    check_complete(found, model, missing)
    for note in found.notes:
        _LOGGER.warning("%s: %s", type(model).__name__, note)
    _note_aside(type(model).__name__, left_aside(found, model))
    return weights_of(found, model)


def check_complete(found: Found, model: nn.Module, missing: Collection[str]) -> None:
    """Raise LearngeneError if weights of a model's ViT or classifier are ``missing``: in no file, so start values."""
    inside = f"{found.path}." if found.path else ""
    heads = {found.key(name, place) for name in HEAD_TENSORS for place in found.layout.head_places(name)}
    lost = [key for key in missing if key.startswith(inside) and not found.layout.is_aside(key.removeprefix(inside))]
    if lost := [*lost, *(heads & {*missing})]:
        raise LearngeneError(
            f"{type(model).__name__} has tensors that the file has not, or in another shape: {some(lost)}"
        )


def _note_aside(source: str, parts: list[str]) -> None:
    if parts:
        _LOGGER.warning("%s: left aside: %s", source, ", ".join(parts))


def _timm_name(name: str) -> str:
    if not timm.is_model(name):
        raise LearngeneError(
            f"{name!r} is neither a checkpoint file ({', '.join(CHECKPOINTS)}), a folder nor a timm model; "
            f"nearest timm models: {', '.join(timm.list_models(f'*{name[:8]}*')[:3]) or 'none'}"
        )
    return name


def hugging_face_model(folder: Path, weights: bool = True) -> tuple[nn.Module, list[str]]:
    """The model of a Hugging Face folder, or one of its config on the meta device; and which weights it has not.

    Raises:
        LearngeneError: the folder has no ``config.json``, transformers is missing, or it cannot be read.
    """
    if not (folder / "config.json").is_file():
        raise LearngeneError(f"{folder} is a folder without config.json; expected a Hugging Face model's folder")
    try:
        import transformers
    except ImportError as error:
        raise LearngeneError(f"{folder} needs transformers: pip install mmlearngene[hf]") from error
    stored = sum(file.stat().st_size for end in ("safetensors", "bin") for file in folder.glob(f"*.{end}"))
    _check_sizes(folder / "config.json", stored if weights else 0)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        names = config.architectures or []
        cls = getattr(transformers, names[0], transformers.AutoModel) if names else transformers.AutoModel
        own = getattr(cls, "config_class", None)
        if own is not None and own.model_type != config.model_type:
            raise LearngeneError(f"its model_type is {config.model_type}, and {names[0]} is a {own.model_type}")
        if weights:
            with _quiet(transformers.utils.logging), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model, info = cls.from_pretrained(
                    folder, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True
                )
            return model, sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])})
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of sizes that are then refused
            return (cls.from_config(config) if cls is transformers.AutoModel else cls(config)), []
    except Exception as error:  # of a damaged file, a missing one or an unknown class, each its own kind
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise LearngeneError(f"{folder} cannot be read as a Hugging Face model: {words[0]}") from error


@contextlib.contextmanager
def _quiet(logs: ModuleType) -> Iterator[None]:
    """Without the progress bar and the report of transformers: what matters of it is said by an error."""
    verbosity, bar = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        logs.set_verbosity(verbosity)
        if bar:
            logs.enable_progress_bar()


def _check_sizes(file: Path, stored: int) -> None:
    """Refuse a Hugging Face config that is damaged, or asks for a model larger than any ViT or than its weights.

    Args:
        file: the config.
        stored: bytes of weights beside it; 0 where there are none.

    Raises:
        LearngeneError: names the entry.
    """

    def walk(node: dict) -> None:
        for key, value in node.items():
            if isinstance(value, dict):
                walk(value)
            most = MAX.get(_HF_SIZES.get(key, ""))
            for number in value if isinstance(value, list) else [value]:
                if most and isinstance(number, (int, float)) and number > most:
                    raise LearngeneError(f"{file}: {key}={shortened(value)} is more than {most}")
                # a layer has a dozen tensors, whose names and places alone take more
                if stored and key == "num_hidden_layers" and isinstance(number, int) and number * 400 > stored:
                    raise LearngeneError(f"{file}: {number} layers are not in {stored:,} bytes of weights")

    try:
        walk(json.loads(file.read_text()))
    except LearngeneError:
        raise
    except (ValueError, AttributeError, RecursionError) as error:
        raise LearngeneError(f"{file} is damaged: {error}") from error


def _of_checkpoint(path: Path, like: str | Path | nn.Module | ViTSpec | None, fields: dict) -> ViTWeights:
    state = files.load_state_dict(path)
    state = _without_wrapper(state)
    candidates = [layout for name in FRAMEWORKS for layout in tables(name) if layout.recognises(state)]
    if not candidates:
        raise LearngeneError(
            f"{path} is no ViT in a layout that is known here ({', '.join(FRAMEWORKS)}); its tensors start with "
            f"{', '.join(list(state)[:3])}"
        )
    told = _own_spec(path)
    if like is not None:
        spec, layout = _spec_like(like)
        candidates = [c for c in candidates if layout is None or c.cls == layout.cls] or candidates
        told = {name: getattr(spec, name) for name in (*_TOLD, "head_dim") if name != "num_heads"}
    errors = []
    for layout in candidates:
        try:
            weights = _take(layout, state, {**told, **fields})
        except LearngeneError as error:
            errors.append(error)
        else:
            _note_aside(path.name, layout.beside(state, *layout.where(state)))
            return weights
    error = next((error for error in errors if isinstance(error, NotShown)), errors[0])  # the nearest to being read
    raise LearngeneError(f"{path}: {error}") from error


def _without_wrapper(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for wrapper in ("module.", "model."):
        if all(key.startswith(wrapper) for key in state):
            state = {key.removeprefix(wrapper): tensor for key, tensor in state.items()}
    return state


def _own_spec(path: Path) -> dict:
    """The spec that a file of our own (``mmlearngene expand``) says it is for."""
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get("spec")
    try:
        spec = ViTSpec.parse(json.loads(text)) if text else None
    except (LearngeneError, ValueError):
        return {}
    return {name: getattr(spec, name) for name in (*_TOLD, "img_size")} if spec else {}


def _spec_like(like: str | Path | nn.Module | ViTSpec) -> tuple[ViTSpec, Layout | None]:
    """The spec of a model that a checkpoint is like, and its layout where that is known."""
    if isinstance(like, ViTSpec):
        return like, None
    if not isinstance(like, nn.Module):
        path = Path(like)
        if path.is_dir():
            like, _ = hugging_face_model(path, weights=False)
        elif path.suffix == ".py":
            from .registry import model_of_config  # the OpenMMLab side, which the core does without

            like = model_of_config(files.existing(path))
        else:
            with torch.device("meta"):
                like = timm.create_model(_timm_name(str(like)))
    found = find_vit(like)
    return found.spec, found.layout


def _take(layout: Layout, state: Mapping[str, Tensor], fields: dict) -> ViTWeights:
    """Read a state dict with what is told of it, as far as its tensors do not show it themselves."""
    vit, head = layout.split(state)
    of_size = ("pool", "num_heads", "head_dim", "init_values")
    known = {name: value for name, value in fields.items() if name not in of_size or isinstance(value, tuple)}
    shown = layout.infer(vit, head, **known)  # a schedule of heads says how wide each layer's are
    told = {name: value for name, value in fields.items() if name != "head_dim"}
    if "head_dim" in fields and "num_heads" not in told:
        told["num_heads"] = max(1, shown.heads[0] * shown.head_dim // fields["head_dim"])
    for name in ("pool", "num_heads"):
        if layout.shows(name, shown):
            told.pop(name, None)
    if shown.init_values is None:
        told.pop("init_values", None)
    return layout.from_state_dict(state, **told)


def extract(
    method: str, ancestry: Source, *, like: str | Path | nn.Module | ViTSpec | None = None, **options
) -> Extracted:
    """Extract a learngene of ``method`` from an ancestry.

    Args:
        method: the method's name.
        ancestry: canonical weights, or what :func:`load_ancestry` reads.
        like: see :func:`load_ancestry`.
        **options: the method's own, see its ``extract``; fields of a spec that a checkpoint does not show
            (``num_heads``, ...); and for methods that look at images: ``data`` (a folder of images, an OpenMMLab
            config, or batches of preprocessed images), ``num_images`` of a folder or config (1,000 by default),
            ``seed`` of their draw, and ``preprocessing`` (see :func:`mmlearngene.attention.read_images`).

    Raises:
        LearngeneError: unknown method or option, or whatever reading the ancestry or the method rejects.
    """
    cls = find_method(method, "extraction method", extraction_methods())
    known = cls.extract_options() + [name for name in IMAGE_OPTIONS if cls.looks_at_images]
    of_spec = {name for name in ViTSpec.__dataclass_fields__ if name not in known}
    for name in options:
        if name not in known and name not in of_spec:
            takes = ", ".join(known) or "none"
            raise LearngeneError(f"{method} has no extraction option {name!r}; it takes: {takes}")
    fields = {name: options.pop(name) for name in list(options) if name in of_spec}
    own = inspect.signature(cls.extract).parameters
    check_types(cls.extract, options)
    check_types(cls, {name: value for name, value in options.items() if name not in own})
    source = "weights" if isinstance(ancestry, ViTWeights) else ancestry
    source = type(source).__name__ if isinstance(source, nn.Module) else Path(source).name
    weights = load_ancestry(ancestry, like, **fields)
    if refused := cls.refuses(weights.spec):
        others = ", ".join(name for name in extraction_methods() if not LEARNGENES[name].refuses(weights.spec))
        raise LearngeneError(
            f"{method} cannot treat {source}, a {weights.spec.kind} with {refused}; methods for it: {others}"
        )
    model, provenance = ancestry if like is None else like, {}
    told = preprocessing_of(str(model)) if isinstance(model, (str, Path)) else {}
    if cls.looks_at_images:
        if told:
            options["preprocessing"] = {**told, **(options.get("preprocessing") or {})}
        options, provenance = _with_distances(weights, options)
    if {"mean", "std"} <= told.keys():  # for those who will feed images to a descendant
        provenance["preprocessing"] = {n: list(v) if isinstance(v, tuple) else v for n, v in told.items()}
    learngene = cls.extract(weights, **options)
    learngene.classes = _classes_of(model, learngene.aux_spec.num_classes)
    learngene.provenance = {"ancestry": source, **learngene.provenance, **provenance}
    return learngene


def _classes_of(model: object, count: int) -> list[str] | None:
    """The names that a Hugging Face folder or model gives to so many classes; None where it gives none."""
    if isinstance(model, (str, Path)):
        file = Path(model) / "config.json"
        named = json.loads(file.read_text()).get("id2label") if file.is_file() else None
    else:
        named = getattr(getattr(model, "config", None), "id2label", None)
    if not isinstance(named, dict) or len(named) != count:
        return None
    names = [str(named.get(number, named.get(str(number)))) for number in range(count)]
    return None if names == [f"LABEL_{number}" for number in range(count)] else names


def _with_distances(weights: ViTWeights, options: dict) -> tuple[dict, dict]:
    """Options with mean attention distances in the place of images, and what to say of where they come from."""
    images = {name: options.pop(name) for name in IMAGE_OPTIONS if name in options}
    data: str | Path | Iterable[Tensor] | None = images.pop("data", None)
    if data is None or options.get("distances") is not None:
        return options, {}
    provenance = {}
    if isinstance(data, (str, Path)):
        images |= images.pop("preprocessing", None) or {}
        for name in images:
            check_choice(name, inspect.signature(read_images).parameters, "preprocessing")
        check_types(read_images, images)
        provenance = {"data": Path(data).name, "seed": images.get("seed", 0)}
        data = read_images(data, weights.spec, **images)
    counted = _Counted(data)
    options["distances"] = mean_attention_distance(weights, counted)
    return options, {**provenance, "num_images": counted.images}


class _Counted:
    """Batches of images, counted while they pass."""

    def __init__(self, batches: Iterable[Tensor]) -> None:
        self.batches, self.images = batches, 0

    def __iter__(self):
        for batch in self.batches if isinstance(self.batches, Iterable) else [self.batches]:
            if not isinstance(batch, Tensor):
                raise LearngeneError(f"data holds {shortened(batch)}; expected batches of images, a folder or a config")
            self.images += len(batch)
            yield batch
