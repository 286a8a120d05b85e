"""The header of a safetensors file, read as JSON, and its bytes: no tensor is made, and no library is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import LearngeneError, in_words

# bytes of a learngene's header and of a safetensors file's; those of the largest ViTs are far below
_MAX_HEADER = 2**21
_CHUNK = 2**24  # bytes that are read at once


@dataclass(frozen=True)
class Stored:
    """A tensor in a file.

    Attributes:
        dtype: as the file says it: ``F32``, ``BF16``, ...
        shape: of the tensor.
        start: the first byte in the file.
        end: the byte behind the last.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(path: Path) -> tuple[dict[str, str], dict[str, Stored]]:
    """The metadata of a safetensors file and where its tensors are. The file may be larger than memory.

    Raises:
        LearngeneError: the file is truncated or of another kind.
    """
    check_length(path)
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(length)) if length <= _MAX_HEADER else {}
        metadata = entries.pop("__metadata__", None) or {}
        stored = {
            name: Stored(entry["dtype"], tuple(entry["shape"]), *(8 + length + end for end in entry["data_offsets"]))
            for name, entry in entries.items()
        }
        end = max((entry.end for entry in stored.values()), default=8 + length)
        if path.stat().st_size != end:
            raise ValueError(f"{path.stat().st_size} bytes where its header says {end}")
        if not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("its metadata is no text")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise LearngeneError(f"{path} is truncated or not a safetensors file ({in_words(error)})") from error
    return metadata, stored


def chunks(path: Path, stored: Mapping[str, Stored]) -> Iterator[tuple[str, bytes]]:
    """The bytes of every tensor in order of name, piece by piece: name and piece; an empty piece begins a tensor."""
    with open(path, "rb") as file:
        for name in sorted(stored):
            file.seek(stored[name].start)
            left = stored[name].end - stored[name].start
            yield name, b""
            while left > 0 and (piece := file.read(min(left, _CHUNK))):
                left -= len(piece)
                yield name, piece


def check_length(path: Path) -> None:
    """Refuse a safetensors file whose header is longer than any ViT's, before it is read.

    Raises:
        LearngeneError: it is.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if _MAX_HEADER < length <= path.stat().st_size:  # what is longer than its file is cut off
        raise LearngeneError(f"{path}: its header has {length:,} bytes, more than {_MAX_HEADER:,}")
