"""The loss of one network against the logits of another."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import LearngeneError, check_choice
from ..registry import MODELS

KINDS = ("soft", "hard")
REDUCTIONS = ("deit", "batchmean")


@MODELS.register_module()
class DistillLoss(nn.Module):
    """Distillation loss of DeiT (Touvron et al., ICML 2021, eq. 2 and 3).

    Args:
        kind: ``soft``: KL(teacher || student) at temperature ``tau``, times ``tau`` squared; ``hard``: cross-entropy
            with the teacher's decision.
        tau: temperature of the soft loss.
        reduction: of the soft loss: ``deit`` divides the sum by batch x classes, as DeiT's and the LeTs, TLEG and SWS
            code do; ``batchmean`` by the batch.
    """

    def __init__(self, kind: str = "soft", tau: float = 1.0, reduction: str = "deit") -> None:
        super().__init__()
        self.kind = check_choice(kind, KINDS, "distillation kind")
        self.reduction = check_choice(reduction, REDUCTIONS, "distillation reduction")
        if tau <= 0:
            raise LearngeneError(f"tau={tau} must be positive; the usual value is 1.0")
        self.tau = tau

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Loss of logits ``student`` against logits ``teacher``, both (B, classes)."""
        if self.kind == "hard":
            return F.cross_entropy(student, teacher.argmax(-1))
        student, teacher = (F.log_softmax(logits.float() / self.tau, -1) for logits in (student, teacher))
        divergence = F.kl_div(student, teacher, reduction="sum", log_target=True)
        count = student.numel() if self.reduction == "deit" else len(student)
        return divergence * self.tau**2 / count


def apart(losses: dict[str, Tensor], owner: str) -> dict[str, Tensor]:
    """Losses by name, with their owner before the name, for where others stand beside them: ``head.loss``.

    mmengine logs the sum of all as ``loss``, and one that is called so itself would take its place.
    """
    return {f"{owner}.{name}" if "loss" in name else name: value for name, value in losses.items()}


def scaled(losses: dict[str, Tensor], factor: float) -> dict[str, Tensor]:
    """Losses by name, times a factor; what is no loss (an accuracy) stays as it is."""
    return {name: factor * _number(value) if "loss" in name else value for name, value in losses.items()}


def mean(found: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Losses by name, averaged; what one of them lacks counts as 0."""
    names = dict.fromkeys(name for losses in found for name in losses)
    return {name: sum(_number(losses[name]) / len(found) for losses in found if name in losses) for name in names}


def _number(value: Tensor | list[Tensor]) -> Tensor:
    """A loss as mmengine counts it, lists too: mmpretrain's accuracy is one, a tensor for each threshold."""
    return value.mean() if isinstance(value, Tensor) else sum(part.mean() for part in value)
