"""The folder of a model that transformers or timm wrote."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import timm
import torch
from torch import nn

from ..errors import LearngeneError
from ..frameworks import find_vit, tables
from ..frameworks.base import some
from ..utils.typed import shortened
from ..vit.spec import MAX

_LOGGER = logging.getLogger("mmlearngene")
# entries of a Hugging Face config that are fields of a spec, as far as they are large where a model is
_HF_SIZES = dict(
    num_hidden_layers="num_layers", depth="num_layers", num_attention_heads="num_heads", hidden_size="embed_dims",
    embed_dim="embed_dims", num_classes="num_classes",
    image_size="img_size", patch_size="patch_size", num_channels="in_channels", num_register_tokens="reg_tokens",
    depths="depths", num_heads="num_heads", num_labels="num_classes", window_size="window_size", mlp_ratio="mlp_ratio",
)  # fmt: skip
_MOST_LAYERS = 64  # of a config alone, without weights that show that it has them: 10 ms each; ViT-22B has 48
_MOST_NAMES = 50_000  # of classes, 10 us each: transformers makes one up for every label; ImageNet-22k has 21,841


def hugging_face_model(folder: Path, weights: bool = True) -> nn.Module:
    """The model of a folder that transformers or timm wrote; or without ``weights`` one of its config, on meta.

    Raises:
        LearngeneError: the folder has no ``config.json``, transformers is missing, it cannot be read, or its weights
            are not those of its config: some are missing, or the file has more than the config says.
    """
    if not (folder / "config.json").is_file():
        raise LearngeneError(f"{folder} is a folder without config.json; expected a Hugging Face model's folder")
    stored = sum(file.stat().st_size for end in ("safetensors", "bin") for file in folder.glob(f"*.{end}"))
    told = _config(folder / "config.json", stored if weights else None)
    if is_of_timm(told):
        return _timm_folder(folder, told, stored if weights else None)
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
            with quiet(transformers.utils.logging):
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


def is_of_timm(config: Mapping) -> bool:
    """Whether a folder's config is one that timm writes (``save_for_hf``, ``push_to_hf_hub``)."""
    return "architecture" in config and "model_type" not in config


def classes_of(model: object, count: int) -> list[str] | None:
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
    heads = layout.head_keys(found.around).keys()
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
    note_aside(folder.name, list(beside))


def _timm_folder(folder: Path, told: Mapping, stored: int | None) -> nn.Module:
    """The model of a folder that timm wrote, with its ``stored`` bytes of weights; where that is None, on meta."""
    try:
        with torch.device("meta"):
            model = timm.create_model(f"local-dir:{folder}", pretrained=False).eval()
        numbers = sum(parameter.numel() for parameter in model.parameters())
        if stored and numbers > stored:  # which would take that much memory before they are looked for
            raise LearngeneError(f"its model has {numbers:,} numbers, which are not in {stored:,} bytes of weights")
        if stored is not None:
            model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
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
def quiet(logs: ModuleType) -> Iterator[None]:
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


def _config(file: Path, stored: int | None) -> dict:
    """A folder's ``config.json``, refused where it is damaged, or asks for more than any ViT or than its weights.

    Args:
        file: the config.
        stored: bytes of weights beside it; None where they are not read.

    Raises:
        LearngeneError: names the entry.
    """

    def walk(node: dict) -> None:
        for key, value in node.items():
            names = len(value) if isinstance(value, dict) else value
            is_of_names = key in ("num_labels", "id2label", "label2id")
            if is_of_names and isinstance(names, (int, float)) and names > _MOST_NAMES:
                raise LearngeneError(f"{file}: {key} of {names} classes; expected at most {_MOST_NAMES}")
            if isinstance(value, dict):
                walk(value)
            most = MAX.get(_HF_SIZES.get(key, ""))
            for number in value if isinstance(value, list) else [value]:
                if most and isinstance(number, (int, float)) and number > most:
                    raise LearngeneError(f"{file}: {key}={shortened(value)} is more than {most}")
                if _HF_SIZES.get(key) != "num_layers" or not isinstance(number, int):
                    continue
                # a layer has a dozen tensors, whose names and places alone take more
                if stored and number * 400 > stored:
                    raise LearngeneError(f"{file}: {number} layers are not in {stored:,} bytes of weights")
                if stored is None and number > _MOST_LAYERS:
                    raise LearngeneError(
                        f"{file}: {key}={number} is more than {_MOST_LAYERS} in a config that is read without weights; "
                        "expected fewer layers, or the fields themselves, as --num-heads"
                    )

    try:
        config = json.loads(file.read_text())
        walk(config)
        return config
    except LearngeneError:
        raise
    except (ValueError, AttributeError, RecursionError) as error:
        raise LearngeneError(f"{file} is damaged: {error}") from error


def note_aside(source: str, parts: list[str]) -> None:
    """Say in one line what a model or a file has beside its ViT."""
    if parts:
        _LOGGER.warning("%s: left aside: %s", source, ", ".join(parts))
