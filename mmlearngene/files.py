"""Files: safetensors with a JSON header, written atomically and checked when read; never unpickled.

Format 1: a safetensors file whose metadata has one entry, ``mmlearngene``: JSON with ``format`` (1), ``method``,
``config``, ``learngene_spec``, ``aux_spec``, ``classes``, ``provenance`` (``package_version`` among it) and ``sha256``,
the digest of all tensors.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import LearngeneError
from .version import __version__

FORMAT = 1
SUFFIX = ".learngene.safetensors"
CHECKPOINT_SUFFIXES = (".pth", ".pt", ".bin", ".npz")
_KEY = "mmlearngene"
_ENTRIES = ("method", "config", "learngene_spec", "aux_spec", "classes", "provenance", "sha256")


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of the tensors, in order of name."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.flatten().view(torch.uint8).numpy())
    return sha.hexdigest()


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    """Write a safetensors file under a temporary name beside ``path``, then rename it there.

    Tensors that share storage (layers that share weights) are written out one by one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    try:
        detached = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
        save_file(detached, temporary, metadata)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write(path: str | Path, tensors: Mapping[str, Tensor], header: Mapping) -> Path:
    """Write a learngene file: tensors and header, completed with format, package version and digest."""
    header = {
        "format": FORMAT,
        **header,
        "provenance": {**header["provenance"], "package_version": __version__},
        "sha256": digest(tensors),
    }
    return save_tensors(path, tensors, {_KEY: json.dumps(header)})


def read(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Read a learngene file.

    Returns:
        The tensors and the header.

    Raises:
        LearngeneError: the file is missing, truncated, not safetensors, not a learngene, of a newer format, or its
            tensors are not those that were saved.
    """
    path = existing(path)
    if path.suffix in CHECKPOINT_SUFFIXES:
        beside = path.with_suffix(SUFFIX)
        if beside.is_file():
            hint = f"did you mean {beside}?"
        else:
            hint = (
                f"`mmlearngene extract --method pre-fin --ancestry {path} -o {beside.name}` makes one of its own size"
            )
        raise LearngeneError(f"{path} is a checkpoint, not a learngene; {hint}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # cloned: a copy is aligned like any fresh parameter, so that products of it round alike
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()} if _KEY in metadata else {}
    except (SafetensorError, OSError) as error:
        raise LearngeneError(f"{path} is truncated or not a safetensors file ({error})") from error
    if _KEY not in metadata:
        raise LearngeneError(
            f"{path} is a safetensors file but not a learngene: its header has no {_KEY!r} entry; "
            "expected a file written by mmlearngene (`mmlearngene import` reads the papers' own checkpoints, and "
            f"`mmlearngene extract --method pre-fin --ancestry {path} -o FILE` any ViT's)"
        )
    try:
        header = json.loads(metadata[_KEY])
        version = header["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise LearngeneError(f"{path}: the {_KEY!r} header is damaged ({error!r})") from error
    if version != FORMAT:
        raise LearngeneError(f"{path} has learngene format {version}; this version of mmlearngene reads {FORMAT}")
    if missing := [entry for entry in _ENTRIES if entry not in header]:
        raise LearngeneError(f"{path}: the {_KEY!r} header is damaged (it has no {', '.join(missing)})")
    if digest(tensors) != header["sha256"]:
        raise LearngeneError(f"{path}: the tensors differ from those that were saved (SHA-256 mismatch)")
    return tensors, header


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
    path = Path(path).expanduser()
    if path.is_file():
        return path
    import difflib

    siblings = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    hint = f"; did you mean {path.parent / near[0]}?" if near else ""
    raise LearngeneError(f"no such file: {path}{hint}")


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """A flat state dict from a ``.safetensors`` file or a torch checkpoint, never unpickling code.

    A checkpoint's ``model``, ``state_dict`` or ``model_ema`` entry is entered; a ``.npz`` file's arrays are taken as
    tensors.

    Raises:
        LearngeneError: the file is missing, damaged, or holds more than tensors and plain values.
    """
    path = existing(path)
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}
        if path.suffix == ".npz":
            import numpy as np

            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        with torch.serialization.safe_globals([(_Inert, name) for name in _INERT]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except LearngeneError:
        raise
    except Exception as error:  # torch, zipfile and safetensors each raise their own kinds on damaged input
        raise LearngeneError(
            f"{path} cannot be read as safetensors or as a checkpoint of plain tensors ({type(error).__name__}: "
            f"{str(error).splitlines()[0]})"
        ) from error
    for key in ("model", "state_dict", "model_ema"):
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(key), dict):
            checkpoint = checkpoint[key]
            break
    tensors = {k: v for k, v in checkpoint.items() if isinstance(v, Tensor)} if isinstance(checkpoint, dict) else {}
    if not tensors:
        raise LearngeneError(f"{path} holds no state dict; expected tensors, or a 'model' or 'state_dict' entry")
    return tensors
