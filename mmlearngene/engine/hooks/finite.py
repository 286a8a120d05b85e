"""Stop a training whose numbers have left the finite ones, before they reach a checkpoint or a learngene."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint
from torch.nn.utils import get_total_norm

from ...errors import RunStopped
from ...registry import HOOKS
from .runner import unwrapped


@HOOKS.register_module()
class FiniteHook(Hook):
    """Stop the run where the loss, or a weight after the update, is NaN or infinite.

    A gradient that is not finite makes the weights so in its own update; with a loss scale such an update is left out,
    and training goes on as mixed precision means it to.

    Raises:
        RunStopped: names the step and the last good checkpoint.
    """

    priority = "VERY_HIGH"  # before anything averages or saves the weights

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: dict | None = None
    ) -> None:
        loss = (outputs or {}).get("loss")
        if loss is not None and not loss.isfinite():
            raise self._stop(runner, f"the loss is {loss.item()}")
        weights = [parameter.detach() for parameter in unwrapped(runner).parameters()]
        if get_total_norm(weights).isfinite():  # one quick pass; of huge weights the norm is infinite too
            return
        if names := [name for name, p in unwrapped(runner).named_parameters() if not p.isfinite().all()]:
            raise self._stop(runner, f"{len(names)} weights are not finite, {names[0]} the first of them")

    @staticmethod
    def _stop(runner: Runner, what: str) -> RunStopped:
        last = find_latest_checkpoint(runner.work_dir)
        kept = f"the last good checkpoint is {last}" if last else "no checkpoint was written yet"
        return RunStopped(
            f"{what} after step {runner.iter + 1}, so the run stops; {kept}. What to do: train with a lower "
            "optim_wrapper.optimizer.lr, a longer warm-up, or optim_wrapper.clip_grad.max_norm=1"
        )
