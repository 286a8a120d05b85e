"""Safe writing: a file or a folder is whole or absent, or the old one."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from .paths import PICKLED

if TYPE_CHECKING:
    from torch import Tensor

_UNFINISHED = 3600  # seconds


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

    from safetensors.torch import save_file  # here, as it imports torch

    def write(temporary: str) -> None:
        save_file(detached, temporary, metadata)
        _sort_metadata(temporary)

    return _save(path, write)


def _save_pickled(tensors: dict[str, Tensor], path: str) -> None:
    """``torch.save`` through a file of Python's, whose error of a full disk says so; torch's own does not."""
    import torch

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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
