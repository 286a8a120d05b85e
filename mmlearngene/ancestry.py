"""Read a trained ViT of any framework, the ancestry, into canonical weights; and take learngenes out of one."""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import os
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import timm
import torch
from safetensors import safe_open
from torch import Tensor, nn

from . import files
from .attention import Images
from .errors import LearngeneError, NotShown, check_choice, in_words
from .layouts import FRAMEWORKS, check_function, find_vit, tables, weights_of
from .layouts.base import HEAD_TENSORS, UNSEEN, Layout, some
from .layouts.live import left_aside
from .layouts.modules import tool_of
from .learngenes import LEARNGENES, Learngene
from .learngenes.extracted import Extracted, extraction_methods
from .learngenes.methods import find_method
from .learngenes.principal import Principal
from .preprocessing import preprocessing_of
from .spec import MAX, ViTSpec
from .typed import check_types, shortened
from .weights import ViTWeights

_LOGGER = logging.getLogger("mmlearngene")
CHECKPOINTS = (*files.CHECKPOINT_SUFFIXES, ".safetensors")
IMAGE_OPTIONS = ("data", "num_images", "seed", "preprocessing", "data_size")
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
# what torch adds to names of modules that it wraps, anywhere in a model
_INNER_WRAPPERS = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.(?!flat_param)")
# names of folders that tell nothing of the model in them
_SAYS_NOTHING = {"best", "checkpoint", "checkpoints", "export", "final", "hf", "last", "model", "output", "weights"}

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
            file (``.pth``, ``.pt``, ``.bin``, ``.npz``, ``.safetensors``); or the name of a timm model, which is then
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
    if file.is_dir():
        _check_whole_model(file)
        _check_untold(source, like, fields)
        return _of_model(hugging_face_model(file), path, verify=False)
    if file.suffix in CHECKPOINTS or file.exists():
        for name in fields:
            check_choice(name, ViTSpec.__dataclass_fields__, "field of a ViT")
        check_types(ViTSpec, fields)
        return _of_checkpoint(files.existing(file), like, path, fields)
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
    _note_aside(type(model).__name__, left_aside(found, model))
    return weights_of(found, model)


def _note_aside(source: str, parts: list[str]) -> None:
    if parts:
        _LOGGER.warning("%s: left aside: %s", source, ", ".join(parts))


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


def hugging_face_model(folder: Path, weights: bool = True) -> nn.Module:
    """The model of a folder that transformers or timm wrote; or without ``weights`` one of its config, on meta.

    Raises:
        LearngeneError: the folder has no ``config.json``, transformers is missing, it cannot be read, or its weights
            are not those of its config: some are missing, or the file has more than the config says.
    """
    if not (folder / "config.json").is_file():
        raise LearngeneError(f"{folder} is a folder without config.json; expected a Hugging Face model's folder")
    stored = sum(file.stat().st_size for end in ("safetensors", "bin") for file in folder.glob(f"*.{end}"))
    told = _config(folder / "config.json", stored if weights else 0)
    if is_of_timm(told):
        return _timm_folder(folder, told, weights)
    if told.get("quantization_config"):
        raise LearngeneError(f"{folder} is quantised (quantization_config); expected weights of one floating type")
    try:
        import transformers
    except ImportError as error:
        raise LearngeneError(f"{folder} needs transformers: pip install mmlearngene[hf]") from error
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        names = config.architectures or []
        cls = getattr(transformers, names[0], transformers.AutoModel) if names else transformers.AutoModel
        own = getattr(cls, "config_class", None)
        if own is not None and own.model_type != config.model_type:
            raise LearngeneError(f"its model_type is {config.model_type}, and {names[0]} is a {own.model_type}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of sizes that are then refused
            if not weights:
                with torch.device("meta"):
                    return cls.from_config(config) if cls is transformers.AutoModel else cls(config)
            with _quiet(transformers.utils.logging):
                model, info = _with_classifier(folder, config, *_loaded(cls, folder))
    except Exception as error:  # of a damaged file, a missing one or an unknown class, each its own kind
        if told.get("auto_map"):
            raise LearngeneError(
                f"{folder} is a model whose code is in its folder (auto_map), which is not run here; expected a class "
                "of transformers"
            ) from error
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise LearngeneError(f"{folder} cannot be read as a Hugging Face model: {words[0]}") from error
    _check_whole(folder, model, info)
    return model.timm_model if told["model_type"] == "timm_wrapper" else model


def _loaded(cls: type, folder: Path) -> tuple[nn.Module, dict]:
    """A folder's model in a class of transformers, and what it says of names that do not match."""
    return cls.from_pretrained(folder, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True)


def _with_classifier(folder: Path, config: object, model: nn.Module, info: dict) -> tuple[nn.Module, dict]:
    """The same in the class that has a classifier, where the file has one that the config's class has not."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

    def lost(names: Collection[str]) -> bool:
        return any("classifier" in name.partition(".")[0] for name in names)

    if not lost(info["unexpected_keys"]) or type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        return model, info
    classes = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]
    for cls in classes if isinstance(classes, tuple) else (classes,):
        other, others = _loaded(cls, folder)
        if not lost(others["unexpected_keys"]):
            return other, others
    return model, info


def _check_whole(folder: Path, model: nn.Module, info: dict) -> None:
    """Hold the names in a folder's weights against those of the model that its config makes.

    Raises:
        LearngeneError: tensors of the ViT or its classifier are in no file, or the file has more of them.
    """
    try:
        found = find_vit(model)
    except LearngeneError:
        return  # whoever asked for a ViT will say so
    layout, inside = found.layout, f"{found.path}." if found.path else ""
    heads = {found.key(name, place) for name in HEAD_TENSORS for place in layout.head_places(name)}
    missing = sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])})
    lost = [key for key in missing if key.startswith(inside) and not layout.is_aside(key.removeprefix(inside))]
    if lost := [*lost, *(heads & {*missing})]:
        raise LearngeneError(
            f"{type(model).__name__} has tensors that the file has not, or in another shape: {some(lost)}"
        )
    own = {key: key.removeprefix(inside).removeprefix(f"{layout.inside}.") for key in sorted(info["unexpected_keys"])}
    roots = {root for t in tables(layout.framework) if t.cls == layout.cls for root in t.roots()}
    more = [key for key, name in own.items() if name.partition(".")[0] in roots and not layout.is_aside(name)]
    if more:
        raise LearngeneError(
            f"{folder} has weights that its config.json says nothing of: {some(more)}; expected the config that they "
            "were saved with (layers, biases, register tokens, ...)"
        )
    beside = dict.fromkeys(name.partition(".")[0] for name in own.values() if not layout.is_aside(name))
    _note_aside(folder.name, list(beside))


def is_of_timm(config: Mapping) -> bool:
    """Whether a folder's config is one that timm writes (``save_for_hf``, ``push_to_hf_hub``)."""
    return "architecture" in config and "model_type" not in config


def _timm_folder(folder: Path, told: Mapping, weights: bool) -> nn.Module:
    """The model of a folder that timm wrote, or one without storage."""
    try:
        with torch.device("cpu" if weights else "meta"):
            model = timm.create_model(f"local-dir:{folder}", pretrained=weights).eval()
    except Exception as error:  # of a damaged file, a missing one or an unknown model, each its own kind
        words = " ".join(str(error).split()) or type(error).__name__
        raise LearngeneError(f"{folder} cannot be read as a model of timm: {shortened(words, 300)}") from error
    if told.get("num_classes") not in (None, model.num_classes):  # timm would leave the trained classifier out
        raise LearngeneError(
            f"{folder}/config.json has num_classes={told['num_classes']}, and its model_args make a model of "
            f"{model.num_classes}; expected the same number"
        )
    return model


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


def _config(file: Path, stored: int) -> dict:
    """A folder's ``config.json``, refused where it is damaged, or asks for more than any ViT or than its weights.

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
        config = json.loads(file.read_text())
        walk(config)
        return config
    except LearngeneError:
        raise
    except (ValueError, AttributeError, RecursionError) as error:
        raise LearngeneError(f"{file} is damaged: {error}") from error


def _of_checkpoint(
    path: Path, like: str | Path | nn.Module | ViTSpec | None, inside: str | None, fields: dict
) -> ViTWeights:
    state = _part_of(path, _without_wrapper(files.load_state_dict(path, inside, ask=True)), inside)
    if tool := tool_of(state):
        raise LearngeneError(f"{path}: {tool}")
    candidates = [layout for name in FRAMEWORKS for layout in tables(name) if layout.recognises(state)]
    if not candidates:
        raise LearngeneError(
            f"{path} is no ViT in a layout that is known here ({', '.join(FRAMEWORKS)}); its tensors start with "
            f"{', '.join(list(state)[:3])}"
        )
    if len(places := list(dict.fromkeys(place for layout in candidates for place in layout.all_places(state)))) > 1:
        names = [place.rstrip(".") or "the file itself" for place in places]
        raise LearngeneError(
            f"{path} holds {len(places)} ViTs: {', '.join(names)}; say which, as in path={names[-1]!r} (--path)"
        )
    spec = _own_spec(path)
    if like is not None:
        spec, layout = _spec_like(like)
        candidates = [c for c in candidates if layout is None or c.cls == layout.cls] or candidates
    errors = []
    for layout in candidates:
        try:
            weights = _take(layout, state, spec, fields)
        except LearngeneError as error:
            errors.append(error)
        else:
            inside, around = layout.where(state)
            heads = {around + place for name in HEAD_TENSORS for place in layout.head_places(name)}
            _note_aside(path.name, layout.beside(state, inside, heads))
            return weights
    error = next((error for error in errors if isinstance(error, NotShown)), errors[0])  # the nearest to being read
    raise LearngeneError(f"{path}: {error}") from error


def _part_of(path: Path, state: dict[str, Tensor], inside: str | None) -> dict[str, Tensor]:
    """The tensors of a file whose names start with a path, or all where the path is an entry of the file."""
    part = {name: tensor for name, tensor in state.items() if inside is None or name.startswith(f"{inside}.")}
    if part or inside is None:
        return part
    known = list(dict.fromkeys(name.partition(".")[0] for name in state))
    if inside in files.entries_of(path):
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


def _spec_like(like: str | Path | nn.Module | ViTSpec) -> tuple[ViTSpec, Layout | None]:
    """The spec of a model that a checkpoint is like, and its layout where that is known."""
    if isinstance(like, ViTSpec):
        return like, None
    if not isinstance(like, nn.Module):
        path = Path(like)
        if path.is_dir():
            like = hugging_face_model(path, weights=False)
        elif path.suffix == ".py":
            from .registry import model_of_config  # the OpenMMLab side, which the core does without

            like = model_of_config(files.existing(path))
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


def extract(
    method: str,
    ancestry: Source,
    *,
    like: str | Path | nn.Module | ViTSpec | None = None,
    path: str | None = None,
    verify: bool | None = None,
    **options,
) -> Extracted:
    """Extract a learngene of ``method`` from an ancestry.

    Args:
        method: the method's name.
        ancestry: canonical weights, or what :func:`load_ancestry` reads.
        like: see :func:`load_ancestry`.
        path: see :func:`load_ancestry`.
        verify: see :func:`load_ancestry`.
        **options: the method's own, see its ``extract``; fields of a spec that a checkpoint does not show
            (``num_heads``, ...); and for methods that look at images: ``data`` (a folder of images, an OpenMMLab
            config, ``"noise"``, or batches of preprocessed images), ``num_images`` (the method says how many by
            default), ``seed`` of their draw, ``preprocessing`` (see :func:`mmlearngene.attention.read_images`), and
            ``data_size``, the side of a folder's images: the ViT's own when omitted, but at most 224. Distances are
            told in pixels of the ViT's own size all the same.

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
    source = type(source).__name__ if isinstance(source, nn.Module) else _name_of(Path(source))
    weights = load_ancestry(ancestry, like, path=path, verify=verify, **fields)
    if refused := cls.refuses(weights.spec):
        others = ", ".join(name for name in extraction_methods() if not LEARNGENES[name].refuses(weights.spec))
        raise LearngeneError(
            f"{method} cannot treat {source}, a {weights.spec.kind} with {refused}; methods for it: {others}"
        )
    model, provenance = ancestry if like is None else like, {}
    told = preprocessing_of(str(model)) if isinstance(model, (str, Path)) else {}
    images = None
    if cls.looks_at_images:
        read = {name: options.pop(name) for name in IMAGE_OPTIONS if name in options}
        data, how = read.pop("data", None), read.pop("preprocessing", None) or {}
        if "data_size" in read:
            read["img_size"] = read.pop("data_size")
        if data is not None and options.get(cls.seen) is None:
            images = Images(data, weights.spec, **{"num_images": cls.num_images, **read, **told, **how})
            options[cls.seen] = cls.see(weights, images)
    if {"mean", "std"} <= told.keys():  # for those who will feed images to a descendant
        provenance["preprocessing"] = {n: list(v) if isinstance(v, tuple) else v for n, v in told.items()}
    learngene = cls.extract(weights, **options)
    if images is not None:
        provenance = {**images.provenance, "num_images": images.count, **provenance}
    learngene.classes = _classes_of(model, learngene.aux_spec.num_classes)
    learngene.provenance = {"ancestry": source, **learngene.provenance, **provenance}
    return learngene


def _name_of(path: Path) -> str:
    """What a file, a folder or a timm model is called; a folder's name that says nothing has its parent's before it.

    >>> _name_of(Path("zoo/dinov2-small/hf"))
    'dinov2-small/hf'
    >>> _name_of(Path("hub/models--facebook--dinov2-small/snapshots/3f1c"))
    'facebook/dinov2-small'
    """
    if path.is_dir() and len(path.parts) < 3:  # ".", "hf"
        path = path.absolute()
    if path.parent.name == "snapshots":  # the cache of huggingface_hub
        return path.parts[-3].removeprefix("models--").replace("--", "/")
    return "/".join(path.parts[-2:]) if path.name in _SAYS_NOTHING else path.name


def fitted(
    learngene: Learngene, size: str | ViTSpec, data: str | Path | Iterable[Tensor], options: Mapping = {}, **images
) -> Learngene:
    """A principal learngene of one size, refitted on images for this size alone.

    Args:
        learngene: the learngene of all sizes.
        size: the size.
        data: see :func:`extract`.
        options: of the expansion, which say what layers are kept.
        **images: ``num_images``, ``seed``; and further options of :func:`mmlearngene.attention.read_images`. Images are
            made ready as the learngene says.

    Raises:
        LearngeneError: it is no principal learngene; see :meth:`mmlearngene.learngenes.principal.Principal.fitted`.
    """
    if not isinstance(learngene, Principal):
        raise LearngeneError(f"a refit by data is for principal learngenes; this is a {learngene.method} learngene")
    told = {"num_images": Principal.num_images, **learngene.preprocessing, **images}
    read = Images(data, learngene.aux_spec, **told)
    return learngene.fitted(size, read, **options)


def _classes_of(model: object, count: int) -> list[str] | None:
    """The names that a folder or a Hugging Face model gives to so many classes; None where it gives none."""
    if isinstance(model, (str, Path)):
        file = Path(model) / "config.json"
        told = json.loads(file.read_text()) if file.is_file() else {}
        named = told.get("id2label")
        if "architecture" in told and isinstance(told.get("label_names"), list):  # timm's, or its wrapper's
            named = dict(enumerate(told["label_names"]))
    else:
        named = getattr(getattr(model, "config", None), "id2label", None)
    if not isinstance(named, dict) or len(named) != count:
        return None
    names = [str(named.get(number, named.get(str(number)))) for number in range(count)]
    return None if names == [f"LABEL_{number}" for number in range(count)] else names
