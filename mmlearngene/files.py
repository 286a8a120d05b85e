"""Files: safetensors with a JSON header, written atomically and checked when read; never unpickled.

Format 2: a safetensors file whose metadata has one entry, ``mmlearngene``: JSON with the fields of :class:`Header`;
``sha256`` is the digest of all tensors and of all other fields. Format 1, which knew plain ViTs and Swins only and
whose digest covers the tensors alone, is read and translated.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import LearngeneError, in_words
from .spec import ViTSpec
from .typed import shortened
from .version import __version__

_LOGGER = logging.getLogger("mmlearngene")
FORMAT = 2
SUFFIX = ".learngene.safetensors"
PICKLED = (".pth", ".pt")
CHECKPOINT_SUFFIXES = (*PICKLED, ".bin", ".npz")
CONFIG_SUFFIXES = (".py", ".json", ".yml", ".yaml")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_KEY = "mmlearngene"
_MAX_HEADER = (
    2**21
)  # bytes, of a learngene's header and of a safetensors file's; those of the largest ViTs are far below
_UNFINISHED = 3600  # seconds
_MAX_PICKLED = 2**19  # bytes, beside an eighth of the file: the names and places of tensors, and logs
_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # how torch's earlier format begins, as pickled
_MAX_UNPACKED = 20  # times the size of a compressed file; weights hardly shrink


class Header(BaseModel):
    """The header of a learngene file.

    Attributes:
        format: 2.
        method: name of the method.
        config: the method's own options.
        learngene_spec: the ViT that the learngene is.
        aux_spec: the ViT that it was trained in or extracted from.
        classes: names of the classes.
        provenance: where the weights come from, ``package_version`` among it.
        sha256: digest of the tensors and of all fields above.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[2]
    method: Annotated[str, Field(max_length=100)]
    config: dict[str, JsonValue]
    learngene_spec: ViTSpec
    aux_spec: ViTSpec
    classes: list[str] | None
    provenance: dict[str, JsonValue]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Preprocessing(BaseModel):
    """How images were made ready, as a provenance may tell it; see :data:`mmlearngene.preprocessing.NAMES`."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    mean: Annotated[list[float], Field(min_length=1, max_length=4096)] = [0.0]
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1, max_length=4096)] = [1.0]
    interpolation: Annotated[str, Field(max_length=20)] = ""
    crop_pct: Annotated[float, Field(gt=0, le=10)] = 1.0
    crop_mode: Literal["center", "squash", "border"] = "center"


class Provenance(BaseModel):
    """What other code reads of a provenance, whose other entries are for people; fields may be left out, not wrong."""

    model_config = ConfigDict(strict=True)

    preprocessing: Preprocessing = Preprocessing()
    trained_sizes: Annotated[list[Annotated[str, Field(max_length=10_000)]], Field(max_length=2048)] = []


def digest(tensors: Mapping[str, Tensor], header: Mapping | None = None) -> str:
    """SHA-256 over names, types, shapes and bytes of the tensors, in order of name, and over the header's fields."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.flatten().view(torch.uint8).numpy())
    if header is not None:
        fields = {name: value for name, value in header.items() if name != "sha256"}
        sha.update(json.dumps(fields, sort_keys=True).encode())
    return sha.hexdigest()


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    """Write a safetensors file under a temporary name beside ``path``, then rename it there.

    A path that ends in ``.pth`` or ``.pt`` gets the tensors alone, as ``torch.save`` writes them. Tensors that share
    storage (layers that share weights) are written out one by one.

    Raises:
        OSError: the disk is full, say; nothing is left of the file.
    """
    path = Path(path)
    detached = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    if path.suffix in PICKLED:
        return _save(path, lambda temporary: _save_pickled(detached, temporary))

    def write(temporary: str) -> None:
        save_file(detached, temporary, metadata)
        _sort_metadata(temporary)

    return _save(path, write)


def _save_pickled(tensors: dict[str, Tensor], path: str) -> None:
    """``torch.save`` through a file of Python's, whose error of a full disk says so; torch's own does not."""
    with open(path, "wb") as file:
        torch.save(tensors, file)


def _sort_metadata(path: str) -> None:
    """Put the metadata of a safetensors file in order: safetensors writes it in another one each time."""
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
        if len(text) == length:  # the same characters in another order, unless one is escaped in another way
            file.seek(8)
            file.write(text)


def save_bytes(path: str | Path, data: bytes) -> Path:
    """Write a file as :func:`save_tensors` does: it is whole or absent, or the old one."""
    return _save(Path(path), lambda temporary: Path(temporary).write_bytes(data))


def _save(path: Path, write: Callable[[str], object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_unfinished(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    try:
        write(temporary)
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise _named(error, path) from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def _named(error: Exception, path: Path) -> OSError:
    """The error of a write as Python has it, with its number and the file.

    safetensors has the number in its words, and torch raises an error of its own while it handles Python's.
    """
    error = error.__context__ if isinstance(error.__context__, OSError) else error
    if isinstance(error, OSError):
        if error.errno and not error.filename:
            error.filename = str(path)
        return error
    if number := re.search(r"os error (\d+)", str(error)):
        return OSError(int(number[1]), os.strerror(int(number[1])), str(path))
    return OSError(f"{path} could not be written: {error}")


def _clear_unfinished(path: Path) -> None:
    """Remove what a killed process left beside ``path``; what is younger may still be in the making."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _UNFINISHED:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def save_folder(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a folder under a temporary name beside ``path``, then put it in the place of ``path``."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_unfinished(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp") as temporary:
        fresh, old = Path(temporary, "new"), Path(temporary, "old")
        fresh.mkdir()
        try:
            write(fresh)
        except (SafetensorError, OSError) as error:
            raise _named(error, path) from error
        if path.exists():
            os.replace(path, old)
        os.replace(fresh, path)
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write(path: str | Path, tensors: Mapping[str, Tensor], header: Mapping) -> Path:
    """Write a learngene file: tensors and header, completed with format, package version and digest.

    Raises:
        LearngeneError: the provenance has what could not be read again.
    """
    header = {"format": FORMAT, **header, "provenance": {**header["provenance"], "package_version": __version__}}
    header = json.loads(json.dumps(header, allow_nan=False))  # as it will be read: tuples are lists
    try:
        Provenance.model_validate(header["provenance"])
    except ValidationError as error:
        raise LearngeneError(f"{path}: provenance: {_first(error)}") from error
    header["sha256"] = digest(tensors, header)
    return save_tensors(path, tensors, {_KEY: json.dumps(header)})


def is_learngene(path: str | Path) -> bool:
    """Whether a file says that it is a learngene; whether it is a sound one shows when it is read."""
    try:
        with safe_open(path, framework="pt") as file:
            return _KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


Look = Callable[["Header", dict[str, tuple[int, ...]]], object]


def read(path: str | Path, look: Look | None = None) -> tuple[dict[str, Tensor], Header]:
    """Read a learngene file.

    Args:
        path: the file.
        look: is called with the header and the shapes of all tensors before one of them is read, however large, and
            may refuse them. (The tensors of format 1 are read before.)

    Returns:
        The tensors and the header.

    Raises:
        LearngeneError: the file is missing, truncated, not safetensors, not a learngene, of a newer format, or its
            tensors or header are not those that were saved.
    """
    path, text, shapes = _opened(path)
    fields, version = _fields(path, text)
    header = None
    if version == FORMAT:
        header, _ = _header(path, fields, {})
        if look:
            look(header, shapes)
    try:
        with safe_open(path, framework="pt") as file:
            # cloned: a copy is aligned like any fresh parameter, so that products of it round alike
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
    except (SafetensorError, OSError, MemoryError) as error:
        raise LearngeneError(f"{path} is truncated or not a safetensors file ({error})") from error
    expected = digest(tensors, fields if version == FORMAT else None)
    if version == 1:
        header, tensors = _header(path, fields, tensors)
        if look:
            look(header, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    if expected != header.sha256:
        what = "the tensors differ" if version == 1 else "tensors or header differ"
        raise LearngeneError(f"{path}: {what} from those that were saved (SHA-256 mismatch)")
    check_values(path, tensors)
    return tensors, header


def _opened(path: str | Path) -> tuple[Path, str, dict[str, tuple[int, ...]]]:
    """The path, the text of the header and the shapes of the tensors of a learngene file."""
    path = existing(path)
    if path.suffix in CHECKPOINT_SUFFIXES:
        beside = path.with_suffix(SUFFIX)
        if beside.is_file():
            hint = f"did you mean {beside}?"
        else:
            hint = (
                f"`mmlearngene extract --method pre-fin --ancestry {path} --like MODEL -o {beside.name}` makes one "
                "of its own size"
            )
        raise LearngeneError(f"{path} is a checkpoint, not a learngene; {hint}")
    if path.suffix in CONFIG_SUFFIXES:
        raise LearngeneError(
            f"{path} is a config, not a learngene; tools/train.py makes the one that it describes, "
            f"`mmlearngene inspect {path}` shows it"
        )
    metadata, shapes = _safetensors_header(path)
    if _KEY not in metadata:
        like = "" if "spec" in metadata else " --like MODEL"  # what `expand` has written says what it is
        raise LearngeneError(
            f"{path} is a safetensors file but not a learngene: its header has no {_KEY!r} entry; "
            "expected a file written by mmlearngene (`mmlearngene import` reads the papers' own checkpoints, and "
            f"`mmlearngene extract --method pre-fin --ancestry {path}{like} -o FILE` any ViT's)"
        )
    return path, metadata[_KEY], shapes


def _safetensors_header(path: Path) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """The metadata and the shapes of a safetensors file, which may be larger than memory: nothing else is read."""
    _check_length(path)
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(length)) if length <= _MAX_HEADER else {}
        metadata = entries.pop("__metadata__", None) or {}
        shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        if path.stat().st_size != 8 + length + end:
            raise ValueError(f"{path.stat().st_size} bytes where its header says {8 + length + end}")
        if not isinstance(metadata.get(_KEY, ""), str):
            raise ValueError("its metadata is no text")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise LearngeneError(f"{path} is truncated or not a safetensors file ({in_words(error)})") from error
    return metadata, shapes


def _fields(path: Path, text: str) -> tuple[dict, int]:
    """The fields of a header as its text has them, and its format."""
    damaged = f"{path}: the {_KEY!r} header is damaged"
    try:
        fields = json.loads(text)
        version = fields["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LearngeneError(f"{damaged} ({error!r})") from error
    if version not in (1, FORMAT):
        raise LearngeneError(f"{path} has learngene format {version}; this version of mmlearngene reads 1 and {FORMAT}")
    return fields, version


def _header(path: Path, fields: dict, tensors: dict[str, Tensor]) -> tuple[Header, dict[str, Tensor]]:
    """The header, typed and bounded, and the tensors as this format has them."""
    damaged = f"{path}: the {_KEY!r} header is damaged"
    try:
        if fields["format"] == 1:
            fields, tensors = _from_format_1(fields, tensors)
        header = Header.model_validate_json(json.dumps(fields))
        json.dumps(fields, allow_nan=False)
        Provenance.model_validate(header.provenance)
    except ValidationError as error:
        raise LearngeneError(f"{damaged}: {_first(error)}") from error
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise LearngeneError(
            f"{damaged} (it has no {error})" if isinstance(error, KeyError) else f"{damaged}: {error}"
        ) from error
    return header, tensors


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, and where."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _check_length(path: Path) -> None:
    """Refuse a safetensors file whose header is longer than any ViT's, before it is read.

    Raises:
        LearngeneError: it is.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if _MAX_HEADER < length <= path.stat().st_size:  # what is longer than its file is cut off
        raise LearngeneError(f"{path}: its header has {length:,} bytes, more than {_MAX_HEADER:,}")


def check_values(source: object, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are no weights.

    Args:
        source: where they are from, for messages.
        tensors: name -> tensor.

    Raises:
        LearngeneError: one is not of a floating type, or has a NaN or Inf; or their types differ.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _FLOATS:
            expected = ", ".join(str(dtype).removeprefix("torch.") for dtype in _FLOATS)
            raise LearngeneError(f"{source}: {name} is {str(tensor.dtype).removeprefix('torch.')}; expected {expected}")
        if not tensor.is_meta and not tensor.isfinite().all():
            raise LearngeneError(f"{source}: {name} has values that are no finite numbers (NaN or Inf)")
    types = {str(tensor.dtype).removeprefix("torch."): name for name, tensor in tensors.items()}
    if len(types) > 1:
        which = ", ".join(f"{name} is {dtype}" for dtype, name in types.items())
        raise LearngeneError(f"{source} has tensors of different types: {which}; expected one type")


_SWIN = dict(patch_norm=True, rel_pos_bias=True, pos_embed="none", pool="norm_avg")


def _from_format_1(fields: dict, tensors: dict[str, Tensor]) -> tuple[dict, dict[str, Tensor]]:
    """A header of format 1 and its tensors as those of format 2."""
    fields = {**fields, "format": FORMAT}
    if fields["method"] == "cluster-swin":  # whose networks were no ViTs then, and whose neighbours were one axis
        fields["method"] = "cluster"
        for entry in ("learngene_spec", "aux_spec"):
            fields[entry] = {**_SWIN, **fields[entry], "num_layers": sum(fields[entry]["depths"])}
        merged = {name: t for name, t in tensors.items() if name.startswith("learngene.downsample")}
        tensors = {**tensors, **{name: t.unflatten(-1, (-1, 2, 2)) for name, t in merged.items()}}
    return fields, tensors


class _Inert:
    """Stands in for what training frameworks store beside the weights: created, and nothing else."""

    def __new__(cls, *args, **kwargs) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *args, **kwargs) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


# The logs in checkpoints of mmengine and the arguments in those of DeiT. None of these names is ever looked up.
_INERT = (
    "argparse.Namespace",
    "builtins.getattr",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
)


def existing(path: str | Path) -> Path:
    """``path``, if a file is there.

    Raises:
        LearngeneError: no such file; the nearest name in the same folder is suggested.
    """
    path = Path(os.path.expanduser(path))
    if path.is_file():
        return path
    import difflib

    siblings = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    hint = f"; did you mean {path.parent / near[0]}?" if near else ""
    raise LearngeneError(f"no such file: {path}{hint}")


_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.(safetensors|bin)$")


def load_state_dict(path: str | Path, entry: str | None = None, ask: bool = False) -> dict[str, Tensor]:
    """A flat state dict from a ``.safetensors`` file or a torch checkpoint, never unpickling code.

    A checkpoint's ``model``, ``state_dict`` or ``model_ema`` entry is entered; a ``.npz`` file's arrays are taken as
    tensors.

    Args:
        path: the file.
        entry: the checkpoint's entry to enter, where it has one of this name.
        ask: whether to refuse a checkpoint with several sets of weights (an average of them, a teacher's) where no
            ``entry`` says which; otherwise the first is taken and the others are named in a warning.

    Raises:
        LearngeneError: the file is missing, damaged, or holds more than tensors and plain values; or see ``ask``.
    """
    path = existing(path)
    if (shard := _SHARD.search(path.name)) and int(shard[2]) > 1:
        raise LearngeneError(f"{path} is one of {int(shard[2])} shards of a model; expected its folder, {path.parent}")
    checkpoint = _readable(path)
    entries = _entries(checkpoint)
    if entry in entries:
        checkpoint = entries[entry]
    elif entries:
        known = [name for name in ("model", "state_dict", "model_ema") if name in entries]
        taken = (known or list(entries))[0]
        if others := [name for name in entries if name != taken]:
            words = f"{path} holds {len(entries)} sets of weights: {', '.join(entries)}"
            if ask:
                raise LearngeneError(f"{words}; say which, as in path={others[0]!r} (--path)")
            _LOGGER.warning("%s; %s is taken", words, taken)
        checkpoint = entries[taken]
    tensors = {k: v for k, v in checkpoint.items() if isinstance(v, Tensor)} if isinstance(checkpoint, dict) else {}
    if not tensors:
        raise LearngeneError(f"{path} holds no state dict; expected tensors, or a 'model' or 'state_dict' entry")
    _check_plain(path, tensors)
    return tensors


def entries_of(path: str | Path) -> list[str]:
    """The names of a checkpoint's sets of weights; none where the file is one."""
    return list(_entries(_readable(existing(path))))


def _entries(checkpoint: object) -> dict[str, dict]:
    """A checkpoint's entries that are state dicts themselves."""
    if not isinstance(checkpoint, dict):
        return {}
    return {
        name: entry
        for name, entry in checkpoint.items()
        if isinstance(entry, dict) and any(isinstance(value, Tensor) for value in entry.values())
    }


def _readable(path: Path) -> object:
    """What is in a file of tensors, without running code.

    Raises:
        LearngeneError: it is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, on damaged files
            return _read_any(path)
    except LearngeneError:
        raise
    except Exception as error:  # torch, zipfile and safetensors each raise their own kinds on damaged input
        reason = next(iter(str(error).splitlines()), "")
        raise LearngeneError(
            f"{path} cannot be read as safetensors or as a checkpoint of plain tensors "
            f"({type(error).__name__}: {reason})"
        ) from error


def _check_plain(path: Path, tensors: dict[str, Tensor]) -> None:
    """Refuse tensors that are not plain, or not all in the file."""
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise LearngeneError(f"{path}: {shortened(name)} is no name of a tensor")
        if hasattr(tensor, "full_tensor"):
            raise LearngeneError(
                f"{path}: {name} is one process's part of a sharded tensor (DTensor); gather it first (full_tensor, or "
                "get_model_state_dict with full_state_dict=True)"
            )
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise LearngeneError(f"{path}: {name} is sparse, quantized or empty; expected a plain tensor")
        if tensor.untyped_storage().nbytes() < tensor.nbytes:  # a few bytes can pass for any number of weights
            raise LearngeneError(f"{path}: {name} has {tensor.numel():,} numbers, but they are not all in the file")


def _read_any(path: Path) -> object:
    """What is in a file of tensors, without running code."""
    if path.suffix == ".safetensors":
        _check_length(path)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            if any(name.endswith("/constants.pkl") for name in file.namelist()):
                raise LearngeneError(f"{path} is TorchScript, which is code; expected the state_dict() of its model")
            unpacked = sum(record.file_size for record in file.infolist())
            pickled = sum(record.file_size for record in file.infolist() if record.filename.endswith(".pkl"))
        if unpacked > _MAX_UNPACKED * path.stat().st_size:
            raise LearngeneError(f"{path} would unpack to {unpacked:,} bytes, more than {_MAX_UNPACKED} times its size")
        if pickled > _MAX_PICKLED + path.stat().st_size // 8:
            raise LearngeneError(f"{path} has a pickle of {pickled:,} bytes, where tensors are told of in a few")
    elif path.suffix != ".npz":
        with open(path, "rb") as file:
            if _MAGIC not in file.read(64):  # a pickle of anything, which could be long to read
                raise ValueError("neither a zip archive nor a checkpoint of torch's earlier format")
    if path.suffix == ".npz":
        import numpy as np

        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    with torch.serialization.safe_globals([(_Inert, name) for name in _INERT]):
        return torch.load(path, map_location="cpu", weights_only=True)
