"""A teacher that is asked once: its outputs are kept, and replayed in every further run over the same batches."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.model import BaseDataPreprocessor
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import LearngeneError, RunStopped, cannot_write
from ..io.atomic import save_tensors
from ..registry import MODELS
from .sizes import Step
from .teachers import build_teacher


@MODELS.register_module()
class CachedTeacher(nn.Module):
    """Keep a teacher's outputs step by step, and replay them (fast distillation: Wu et al., TinyViT, ECCV 2022).

    The batches of a run follow from its seed and step (:class:`~mmlearngene.engine.SeedHook`), augmentation and mixup
    too. So a second run of the same seed, data, batch size and augmentation sees the same images at every step,
    whatever it trains: another method, another size. It gets what was kept, and the teacher is not even built.

    A replayed run is the run that kept, bit for bit: both train on what :meth:`restored` gives. One that is killed and
    resumed is, too.

    Args:
        teacher: config of the teacher, see :mod:`mmlearngene.models.teachers`.
        folder: where the outputs are kept, a folder for each process of a run.
        top_k: classes kept of an image, those of the largest logits; all when omitted, and then training is what it is
            without a cache.
        steps: of one file.

    Raises:
        LearngeneError: a file of the folder is damaged, or of another teacher (whose weights are looked at where they
            are at hand) or ``top_k``, which is told at the start; or, at a step, its images are other ones.
        RunStopped: the teacher's outputs are not finite, which are not kept; or a file cannot be written.
    """

    def __init__(self, teacher: dict, folder: str, top_k: int | None = None, steps: int = 100) -> None:
        super().__init__()
        _check_numbers(top_k, steps)
        self.config, self.top_k, self.steps = teacher, top_k, steps
        self.folder = Path(folder) / f"{get_rank()}_of_{get_world_size()}"
        self.described = _described(teacher, top_k, steps)
        for path in sorted(self.folder.glob("*.safetensors")):
            _read(path, self.described, names=())
        self.teacher: nn.Module | None = None  # built where something is missing
        self._chunk: tuple[int, dict[str, Tensor]] = -1, {}  # of the file that was read last
        self._fresh: dict[str, Tensor] = {}

    def forward(self, inputs: Tensor, preprocessor: BaseDataPreprocessor) -> Tensor:
        """Logits (B, classes) for inputs (B, C, H, W) that were normalised by ``preprocessor``, as in a teacher."""
        step = Step.current()
        marks = _marks(inputs)
        kept = self._kept(step.iteration)
        if kept is None:
            if self.teacher is None:
                self.teacher = build_teacher(self.config).to(inputs.device)
            kept = {**compressed(self.teacher(inputs, preprocessor), self.top_k), "marks": marks}
            if not kept["values"].isfinite().all():
                raise RunStopped(
                    f"the teacher's outputs at step {step.iteration} are not finite, so the run stops, and "
                    f"{self.folder} does not get them. What to do: look at the teacher's weights, or leave out --amp"
                )
            self._keep(step, kept)
        elif not torch.equal(kept["marks"], marks):
            raise LearngeneError(
                f"{self.folder}: the images of step {step.iteration} are not those whose outputs are kept; expected "
                "the seed, data, batch size, augmentation and mean of the run that kept them, or another folder"
            )
        return restored({name: tensor.to(inputs.device) for name, tensor in kept.items()})

    @staticmethod
    def check(teacher: dict, folder: str, top_k: int | None = None, steps: int = 100, **kwargs) -> None:
        """Say whether all that is kept in the folder is whole and of this teacher.

        Raises:
            LearngeneError: names the first file that is not.
        """
        _check_numbers(top_k, steps)
        described = _described(teacher, top_k, steps)
        for path in sorted(Path(folder).glob("*_of_*/*.safetensors")):
            _read(path, described, names=())

    @property
    def token_model(self) -> None:
        """A cache keeps logits. It has no model that distillation of tokens could ask.

        Raises:
            LearngeneError: always.
        """
        raise LearngeneError("a teacher cache keeps logits, not tokens; with features=... name the teacher itself")

    def _path(self, chunk: int) -> Path:
        return self.folder / f"{chunk * self.steps:08d}.safetensors"

    def _kept(self, iteration: int) -> dict[str, Tensor] | None:
        """What is kept of a step; None where nothing is."""
        chunk = iteration // self.steps
        if chunk != self._chunk[0]:
            path = self._path(chunk)
            self._chunk = chunk, _read(path, self.described) if path.is_file() else {}
        start = f"{iteration}."
        found = {name.removeprefix(start): t for name, t in self._chunk[1].items() if name.startswith(start)}
        return found or None

    def _keep(self, step: Step, kept: dict[str, Tensor]) -> None:
        """Keep what a step gave; a file is written with the last of its steps, if none of them is missing."""
        chunk, place = divmod(step.iteration, self.steps)
        if place == 0:
            self._fresh = {}
        self._fresh |= {f"{step.iteration}.{name}": tensor.cpu() for name, tensor in kept.items()}
        if place + 1 == self.steps or step.iteration + 1 == step.iterations:
            if f"{chunk * self.steps}.marks" in self._fresh:  # a resumed run may begin in the middle of a file
                try:
                    save_tensors(self._path(chunk), self._fresh, self.described)
                except OSError as error:
                    raise cannot_write(self._path(chunk), error) from error
            self._fresh = {}


def _check_numbers(top_k: int | None, steps: int) -> None:
    for name, number in (("top_k", top_k), ("steps", steps)):
        if number is not None and number < 1:
            raise LearngeneError(f"{name}={number} must be 1 or more")


def _described(teacher: dict, top_k: int | None, steps: int) -> dict[str, str]:
    """What a file says of itself."""
    own = {"teacher": str(sorted(teacher.items())), "top_k": str(top_k), "steps": str(steps)}
    return {"format": "2", **own, "weights": _digest(teacher)}


def _marks(inputs: Tensor) -> Tensor:
    """A number for each image (B,), int64: a sum over its bits, which is exact on any device.

    Every weight is odd, so a change of one pixel, however small, changes the sum; and no two weights are alike.
    """
    count = inputs[0].numel()
    places = torch.arange(1, count + 1, device=inputs.device) * 0x1E3779B97F4A7C15
    weights = (places ^ (places >> 29)) * 0x3F58476D1CE4E5B9 | 1
    return torch.stack([(image.float().flatten().view(torch.int32) * weights).sum() for image in inputs.detach()])


def _digest(config: dict) -> str:
    """Of the weights that a teacher's config names; '' where they are not at hand, as a replay needs none."""
    paths = [Path(config[name]).expanduser() for name in ("checkpoint", "folder") if config.get(name)]
    found = [each for path in paths for each in ([path] if path.is_file() else sorted(path.glob("*.safetensors")))]
    sha = hashlib.sha256()
    for path in found:
        with open(path, "rb") as file:
            for block in iter(partial(file.read, 2**20), b""):
                sha.update(block)
    return sha.hexdigest() if found else ""


def _read(path: Path, described: dict[str, str], names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """The tensors of a file, or those named, once it is seen to be whole and to say of itself what is expected."""
    try:
        with safe_open(path, framework="pt") as file:
            found = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in (file.keys() if names is None else names)}
    except SafetensorError as error:
        raise LearngeneError(f"{path} is damaged ({error}); remove it, and the teacher is asked again") from error
    for name, value in described.items():
        kept = found.get(name)
        if kept != value and (name != "weights" or (kept and value)):
            raise LearngeneError(f"{path} has {name}={kept}, not {value}; expected another folder")
    if any(not tensor.isfinite().all() for name, tensor in tensors.items() if name.endswith(".values")):
        raise LearngeneError(f"{path} has outputs that are not finite; remove it, and the teacher is asked again")
    return tensors


def compressed(logits: Tensor, top_k: int | None = None) -> dict[str, Tensor]:
    """The largest logits of each image, their classes, and one logit for all the others, which keeps their sum.

    Args:
        logits: (B, classes).
        top_k: how many; all when omitted.

    Returns:
        ``values`` float32 (B, k), ``classes`` int16 or int32 (B, k), ``rest`` (B,), and ``shape`` (2,).
    """
    logits = logits.detach().float()
    count = logits.shape[1]
    values, classes = logits.topk(min(top_k or count, count))
    others = count - values.shape[1]
    hidden = logits.scatter(1, classes, -math.inf)
    rest = hidden.logsumexp(1) - math.log(others) if others else torch.zeros_like(values[:, 0])
    small = torch.int16 if count <= torch.iinfo(torch.int16).max else torch.int32
    return {"values": values, "classes": classes.to(small), "rest": rest, "shape": torch.tensor(logits.shape)}


def restored(kept: dict[str, Tensor]) -> Tensor:
    """Logits (B, classes) from :func:`compressed` ones: exact for those kept, and for the sum of all others."""
    full = kept["rest"][:, None].repeat(1, int(kept["shape"][1]))
    return full.scatter(1, kept["classes"].long(), kept["values"])
