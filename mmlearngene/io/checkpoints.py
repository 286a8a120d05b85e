"""Others' files of weights: safetensors, or checkpoints of torch that are never unpickled."""

from __future__ import annotations

import logging
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..errors import LearngeneError
from ..utils.typed import shortened
from .paths import existing
from .safetensors_file import check_length

_LOGGER = logging.getLogger("mmlearngene")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MAX_PICKLED = 2**19  # bytes, beside an eighth of the file: the names and places of tensors, and logs
_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # how torch's earlier format begins, as pickled
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.(safetensors|bin)$")
_MAX_UNPACKED = 20  # times the size of a compressed file; weights hardly shrink


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
        check_length(path)
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
