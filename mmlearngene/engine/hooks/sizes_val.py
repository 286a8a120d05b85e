"""Validation of one Aux-Net at several sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner, TestLoop, ValLoop

from ...errors import LearngeneError, check_choice
from ...models import AuxNet
from ...registry import HOOKS
from ...vit.spec import ViTSpec
from .runner import unwrapped

RULES = ("greater", "less")


def by_size(metrics: Mapping[str, float], name: str) -> dict[str, float]:
    """Size -> a metric, ``'accuracy/top1'`` say, of what :class:`SizesValHook` has measured."""
    found = {key.removesuffix(f"/{name}"): value for key, value in metrics.items() if key.endswith(f"/{name}")}
    return {size: value for size, value in found.items() if size not in ("mean", "worst")}


@HOOKS.register_module()
class SizesValHook(Hook):
    """Evaluate the Aux-Net at several sizes, untuned, whenever it is validated or tested.

    The metrics of the Aux-Net's own size stay as they are; for every other number ``accuracy/top1``, say, there are
    ``h6-l12/accuracy/top1`` of each size, ``mean/accuracy/top1`` and ``worst/accuracy/top1``. They are logged, and the
    best checkpoint may be kept by one of them: ``default_hooks=dict(checkpoint=dict(save_best="mean/accuracy/top1"))``.

    Args:
        sizes: the sizes; those that are trained when omitted.
        rule: whether the worst of a metric is its least (``greater`` is better) or its greatest (``less`` is better).

    Raises:
        LearngeneError: before any work: the model has no Aux-Net, or there are no sizes, or one is out of range.
    """

    # before EMAHook takes the averaged weights out of the model, and before anything reads the metrics
    priority = "HIGHEST"

    def __init__(self, sizes: Sequence[str] | None = None, rule: str = "greater") -> None:
        self.sizes = sizes
        self.worst = min if check_choice(rule, RULES, "rule") == "greater" else max

    def before_run(self, runner: Runner) -> None:
        if not any(isinstance(loop, BaseLoop) for loop in (runner._val_loop, runner._test_loop)):
            return  # nothing is evaluated, as with --no-validate; a test that is not run is a config still
        found = [module for module in unwrapped(runner).modules() if isinstance(module, AuxNet)]
        if not found:
            raise LearngeneError(f"SizesValHook: {type(unwrapped(runner)).__name__} holds no AuxNet to evaluate")
        self.aux_net = found[0]
        if not self.sizes and not self.aux_net.sizes:
            raise LearngeneError("SizesValHook: the AuxNet trains one size; expected sizes=['h6-l12', ...]")
        self.specs = [self.aux_net.learngene.target(size) for size in self.sizes or self.aux_net.sizes.sizes]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._evaluate(runner.val_loop, metrics)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._evaluate(runner.test_loop, metrics)

    def _evaluate(self, loop: ValLoop | TestLoop, metrics: dict[str, float]) -> None:
        own, scores = dict(metrics), []
        for spec in self.specs:
            scores.append(own if spec == self.aux_net.spec else self._measure(spec, loop))
            metrics |= {f"{spec}/{name}": value for name, value in scores[-1].items()}
        for name in own:
            values = [score[name] for score in scores if isinstance(score.get(name), float | int)]
            if values:
                metrics |= {f"mean/{name}": sum(values) / len(values), f"worst/{name}": self.worst(values)}

    def _measure(self, spec: ViTSpec, loop: ValLoop | TestLoop) -> dict[str, float]:
        with self.aux_net.at(spec):
            for index, batch in enumerate(loop.dataloader):
                loop.run_iter(index, batch)
        return loop.evaluator.evaluate(len(loop.dataloader.dataset))
