"""Checkpoints that a kill or a full disk cannot take away."""

from __future__ import annotations

from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import CheckpointLoader, IterBasedTrainLoop, Runner
from safetensors.torch import load_file
from torch import Tensor

from ...errors import cannot_write
from ...io.atomic import save_bytes
from ...io.paths import existing
from ...registry import HOOKS


def write_whole(path: str | Path, data: bytes) -> None:
    """Write a file of a run, see :func:`mmlearngene.io.atomic.save_bytes`.

    Raises:
        RunStopped: it cannot be written; names the path. Nothing half written is left.
    """
    try:
        save_bytes(path, data)
    except OSError as error:
        raise cannot_write(path, error) from error


@CheckpointLoader.register_scheme(prefixes=r".*\.safetensors$")
def load_safetensors(filename: str, map_location: str = "cpu") -> dict[str, Tensor]:
    """Let mmengine read what ``mmlearngene expand`` writes: ``init_cfg``, ``load_from`` and ``tools/test.py`` alike."""
    return load_file(existing(filename), device=str(map_location or "cpu"))


@register_backend("whole_files")
class WholeFileBackend(LocalBackend):
    """mmengine's local files, written by :func:`write_whole`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        write_whole(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        write_whole(filepath, obj.encode(encoding))


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``; whenever the run ends, by whatever, there is a whole checkpoint to resume from.

    Checkpoints and ``last_checkpoint`` are written beside and renamed, and an outdated checkpoint goes only after the
    one that takes its place stands. mmengine removes first, and writes in place. A checkpoint knows which files are
    outdated once it stands, so that a resumed run removes those that a killed one did not come to.

    Args:
        *args: see ``mmengine.hooks.CheckpointHook``.
        **kwargs: likewise.
    """

    def __init__(self, *args, **kwargs) -> None:
        if "://" not in str(kwargs.get("out_dir")):
            kwargs.setdefault("backend_args", dict(backend="whole_files"))
        super().__init__(*args, **kwargs)
        self._outdated: list[str] = []

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        if is_main_process():
            self._remove(runner.message_hub.runtime_info.get("outdated_ckpts", []))

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        outdated = list(self._outdated)
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated.append(self._path(self.keep_ckpt_ids[0]))
            self.keep_ckpt_ids.append(step)  # which drops the first
            runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))
        self.last_ckpt = self._path(step)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        runner.message_hub.update_info("outdated_ckpts", outdated)
        runner.save_checkpoint(
            self.out_dir,
            self.filename_tmpl.format(step),
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            write_whole(Path(runner.work_dir, "last_checkpoint"), self.last_ckpt.encode())
            self._remove(outdated)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return  # also where nothing is trained, so nothing is prepared to be written
        # mmengine removes the old best before it writes the new one: here it is only noted
        self.file_backend.remove = self._outdated.append
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            del self.file_backend.remove
        self._remove(self._outdated)
        self._outdated = []

    def _path(self, step: int) -> str:
        return self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))

    def _remove(self, paths: list[str]) -> None:
        best = [*getattr(self, "best_ckpt_path_dict", {}).values(), getattr(self, "best_ckpt_path", None)]
        for path in paths:
            # the same step may be the best a second time, when a resumed run validates it
            if path not in best and self.file_backend.isfile(path):
                self.file_backend.remove(path)


@HOOKS.register_module()
class ResumedValHook(Hook):
    """Validate a resumed run first where its checkpoint is one that a validation follows.

    The killed run may not have come to it; the best checkpoint of the resumed run would be another.
    """

    priority = "LOWEST"  # after CheckpointHook knows where the best checkpoint goes

    def before_train(self, runner: Runner) -> None:
        loop = runner.train_loop
        done, end = (
            (loop.iter, loop.max_iters) if isinstance(loop, IterBasedTrainLoop) else (loop.epoch, loop.max_epochs)
        )
        due = done >= loop.val_begin and (done % loop.val_interval == 0 or done == end)
        if done and due and runner.val_loop is not None:
            runner.val_loop.run()
