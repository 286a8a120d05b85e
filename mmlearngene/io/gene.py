"""Files: safetensors with a JSON header, written atomically and checked when read; never unpickled.

Format 2: a safetensors file whose metadata has one entry, ``mmlearngene``: JSON with the fields of :class:`Header`;
``sha256`` is the digest of all tensors and of all other fields. Format 1, which knew plain ViTs and Swins only and
whose digest covers the tensors alone, is read and translated.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from safetensors import SafetensorError, safe_open

from ..errors import LearngeneError
from ..version import __version__
from ..vit.spec import ViTSpec
from .atomic import save_tensors
from .paths import CHECKPOINT_SUFFIXES, CONFIG_SUFFIXES, SUFFIX, existing
from .safetensors_file import Stored, chunks, read_header

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

FORMAT = 2
_KEY = "mmlearngene"
# the types of weights, as safetensors and as torch say them
_DTYPES = {"F16": "torch.float16", "BF16": "torch.bfloat16", "F32": "torch.float32", "F64": "torch.float64"}
# highest bytes of numbers that may be NaN or Inf; no weight of a network is as large as the finite ones among them
_HIGHEST = {name: frozenset(b"\x7f\xff") for name in _DTYPES} | {"F16": frozenset(b"\x7c\x7d\x7e\x7f\xfc\xfd\xfe\xff")}


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
    """How images were made ready, as a provenance may tell it; see :data:`mmlearngene.io.preprocessing.NAMES`."""

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
    licenses: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=64)] = []
    trained_sizes: Annotated[list[Annotated[str, Field(max_length=10_000)]], Field(max_length=2048)] = []


def digest(tensors: Mapping[str, Tensor], header: Mapping | None = None) -> str:
    """SHA-256 over names, types, shapes and bytes of the tensors, in order of name, and over the header's fields."""
    import torch  # here, as a header is read without it

    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.flatten().view(torch.uint8).numpy())
    if header is not None:
        sha.update(_signed(header))
    return sha.hexdigest()


def _signed(header: Mapping) -> bytes:
    """The fields of a header as the digest covers them."""
    fields = {name: value for name, value in header.items() if name != "sha256"}
    return json.dumps(fields, sort_keys=True).encode()


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
        return _KEY in read_header(Path(path))[0]
    except (LearngeneError, OSError):
        return False


def described(path: str | Path, describe: Callable[[Header, dict[str, tuple[int, ...]]], T | None]) -> T | None:
    """What a sound learngene file describes, without torch.

    Args:
        path: the file.
        describe: is called with the header and the shapes of all tensors before one of them is read, however large;
            None refuses them.

    Returns:
        What ``describe`` has made of them; None where it refused, where the file is of format 1, or where anything in
        it is not as it should be: :func:`read` says what.

    Raises:
        LearngeneError: the file is missing, truncated, or no learngene.
    """
    path, text, stored = _opened(path)
    fields, version = _fields(path, text)
    kinds = {entry.dtype for entry in stored.values()}
    if version != FORMAT or len(kinds) > 1 or not kinds <= _DTYPES.keys():
        return None
    header = _header(path, fields)
    found = describe(header, {name: entry.shape for name, entry in stored.items()})
    if found is None:
        return None
    sha = hashlib.sha256()
    for name, piece in chunks(path, stored):
        entry = stored[name]
        step = _size(entry)
        sha.update(piece or f"{name} {_DTYPES[entry.dtype]} {entry.shape}".encode())
        if not _HIGHEST[entry.dtype].isdisjoint(piece[step - 1 :: step]):  # the highest byte is the last
            return None
    sha.update(_signed(fields))
    return found if sha.hexdigest() == header.sha256 else None


def column(path: str | Path, name: str, index: int) -> list[float]:
    """The numbers of a tensor at an index of its last axis, without torch."""
    entry, data = _bytes_of(Path(path), name, Path(path).stat().st_mtime_ns)
    kind = {"F16": "e", "BF16": "f", "F32": "f", "F64": "d"}[entry.dtype]
    padding = b"\0\0" * (entry.dtype == "BF16")  # a bfloat16 is the upper half of a float32
    size = _size(entry)
    starts = range(size * index, len(data), size * entry.shape[-1])
    return [struct.unpack(f"<{kind}", padding + data[start : start + size])[0] for start in starts]


@lru_cache(maxsize=8)
def _bytes_of(path: Path, name: str, changed: int) -> tuple[Stored, bytes]:
    """Where a tensor is in a learngene file, and its bytes; kept, as a plan asks for every width."""
    path, _, stored = _opened(path)
    entry = stored[name]
    with open(path, "rb") as file:
        file.seek(entry.start)
        return entry, file.read(entry.end - entry.start)


def bytes_of_numbers(path: str | Path) -> int:
    """How many bytes each number of a learngene file has; 4 where it has no tensors."""
    _, _, stored = _opened(path)
    return next((_size(entry) for entry in stored.values()), 4)


def _size(entry: Stored) -> int:
    return int(entry.dtype.removeprefix("B")[1:]) // 8


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
    from .checkpoints import check_values  # here, as a header is read without torch

    path, text, stored = _opened(path)
    fields, version = _fields(path, text)
    header = None
    if version == FORMAT:
        header = _header(path, fields)
        if look:
            look(header, {name: entry.shape for name, entry in stored.items()})
    try:
        with safe_open(path, framework="pt") as file:
            # cloned: a copy is aligned like any fresh parameter, so that products of it round alike
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
    except (SafetensorError, OSError, MemoryError) as error:
        raise LearngeneError(f"{path} is truncated or not a safetensors file ({error})") from error
    expected = digest(tensors, fields if version == FORMAT else None)
    if version == 1:
        header, tensors = _header_1(path, fields, tensors)
        if look:
            look(header, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    if expected != header.sha256:
        what = "the tensors differ" if version == 1 else "tensors or header differ"
        raise LearngeneError(f"{path}: {what} from those that were saved (SHA-256 mismatch)")
    check_values(path, tensors)
    return tensors, header


def _opened(path: str | Path) -> tuple[Path, str, dict[str, Stored]]:
    """The path, the text of the header and the tensors of a learngene file."""
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
    metadata, stored = read_header(path)
    if _KEY not in metadata:
        like = "" if "spec" in metadata else " --like MODEL"  # what `expand` has written says what it is
        raise LearngeneError(
            f"{path} is a safetensors file but not a learngene: its header has no {_KEY!r} entry; "
            "expected a file written by mmlearngene (`mmlearngene import` reads the papers' own checkpoints, and "
            f"`mmlearngene extract --method pre-fin --ancestry {path}{like} -o FILE` any ViT's)"
        )
    return path, metadata[_KEY], stored


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


def _header(path: Path, fields: dict) -> Header:
    """The header, typed and bounded."""
    with _damage_told(path):
        return _typed(fields)


def _header_1(path: Path, fields: dict, tensors: dict[str, Tensor]) -> tuple[Header, dict[str, Tensor]]:
    """A header of format 1 and its tensors as those of format 2."""
    with _damage_told(path):
        fields, tensors = _from_format_1(fields, tensors)
        return _typed(fields), tensors


def _typed(fields: dict) -> Header:
    header = Header.model_validate_json(json.dumps(fields))
    json.dumps(fields, allow_nan=False)
    Provenance.model_validate(header.provenance)
    return header


@contextlib.contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Tell in one line what is wrong with a header."""
    damaged = f"{path}: the {_KEY!r} header is damaged"
    try:
        yield
    except ValidationError as error:
        raise LearngeneError(f"{damaged}: {_first(error)}") from error
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise LearngeneError(
            f"{damaged} (it has no {error})" if isinstance(error, KeyError) else f"{damaged}: {error}"
        ) from error


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, and where."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


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
