"""Write the learngene beside every checkpoint."""

from __future__ import annotations

from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader, Runner
from safetensors import SafetensorError
from torch import Tensor

from ...errors import cannot_write
from ...io.licenses import licenses_in, with_licenses
from ...io.paths import SUFFIX
from ...learngenes import Learngene
from ...learngenes.base import learngenes_in
from ...registry import HOOKS
from ..init import START, START_LICENSES
from .runner import normalisation_of, unwrapped


@HOOKS.register_module()
class LearngeneExportHook(Hook):
    """Write the learngene beside every checkpoint: ``epoch_3.pth`` gets ``epoch_3.learngene.safetensors``.

    The weights are those of the checkpoint, so the averaged ones where EMA runs. The best checkpoint has its file too,
    and a learngene whose checkpoint was removed is removed.

    Args:
        provenance: JSON values to store in the file, added to what the model says of itself (teacher, epochs).
    """

    priority = "LOWEST"  # after CheckpointHook has written, and after EMAHook has swapped weights in a checkpoint

    def __init__(self, provenance: dict | None = None) -> None:
        self.provenance = provenance or {}
        self._state: dict[str, Tensor] = {}
        self._written: dict[str, Path] = {}

    def before_run(self, runner: Runner) -> None:
        self._find(runner)  # a model without a learngene is told before any work

    @master_only
    def before_train(self, runner: Runner) -> None:
        if runner._load_from and not runner._resume:  # whose weights have replaced what it began with
            runner.message_hub.update_info(START, str(runner._load_from))
        # a resumed run has files of its own already: not to be written again with later weights, but to be removed
        for checkpoint in self._checkpoints(runner):
            for target in Path(checkpoint).parent.glob(f"*{SUFFIX}"):
                self._written[str(target).removesuffix(SUFFIX) + ".pth"] = target
            if checkpoint not in self._written and Path(checkpoint).exists():  # killed between the two
                saved = CheckpointLoader.load_checkpoint(checkpoint, map_location="cpu")
                self._save(runner, checkpoint, saved["state_dict"], saved["meta"]["epoch"], saved["meta"]["iter"])
        self._remove_outdated()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._state = {name: tensor.detach().cpu().clone() for name, tensor in checkpoint["state_dict"].items()}

    # mmengine counts a step, or an epoch, only after its hooks have run
    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        self._export(runner, runner.epoch, runner.iter + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        self._export(runner, runner.epoch + 1, runner.iter)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._export(runner, runner.epoch, runner.iter)

    @master_only
    def _export(self, runner: Runner, epochs: int, iterations: int) -> None:
        if not self._state:
            return
        for checkpoint in self._checkpoints(runner):
            if checkpoint not in self._written and Path(checkpoint).exists():
                self._save(runner, checkpoint, self._state, epochs, iterations)
        self._state = {}
        self._remove_outdated()

    def _remove_outdated(self) -> None:
        for checkpoint, target in list(self._written.items()):
            if not Path(checkpoint).exists():
                target.unlink(missing_ok=True)
                del self._written[checkpoint]

    @staticmethod
    def _checkpoints(runner: Runner) -> list[str]:
        """Paths of the last and the best checkpoints."""
        info = runner.message_hub.runtime_info
        return [str(value) for key, value in info.items() if key == "last_ckpt" or key.startswith("best_ckpt")]

    def _save(self, runner: Runner, checkpoint: str, state: dict[str, Tensor], epochs: int, iterations: int) -> None:
        """Write the learngene that is in a checkpoint's state dict beside that checkpoint."""
        target = Path(checkpoint).with_suffix(SUFFIX)
        path, learngene = self._find(runner)
        own = {name.removeprefix(path): tensor for name, tensor in state.items() if name.startswith(path)}
        exported = learngene.with_tensors(own)
        try:
            own = getattr(unwrapped(runner), "provenance", {})
            seen = normalisation_of(unwrapped(runner))
            own = {**own, "preprocessing": seen} if seen else own
            if start := runner.message_hub.runtime_info.get(START):
                own = {**own, "start": start}
            licenses = [*licenses_in(learngene.provenance), *runner.message_hub.runtime_info.get(START_LICENSES, [])]
            told = {**own, **self.provenance, "epochs": epochs, "iterations": iterations}
            exported.provenance = learngene.provenance = with_licenses(told, licenses)
            note = ""
            if getattr(unwrapped(runner), "features", None):  # whose classifier is no classifier
                exported = exported.with_classes(0)
                note = f", without its projection to the teacher's {learngene.aux_spec.num_classes} channels"
            else:
                exported.classes = runner.train_dataloader.dataset.metainfo.get("classes")
            exported.save(target)
        except (OSError, SafetensorError) as error:
            raise cannot_write(target, error) from error
        self._written[checkpoint] = target
        print_log(f"learngene saved to {target}{note}", logger="current")

    @staticmethod
    def _find(runner: Runner) -> tuple[str, Learngene]:
        for name, learngene in learngenes_in(unwrapped(runner)):
            return f"{name}." if name else "", learngene
        raise TypeError(f"LearngeneExportHook: {type(unwrapped(runner)).__name__} holds no learngene to export")
