"""Distillation of a student, an Aux-Net or any classifier, from a frozen teacher."""

from __future__ import annotations

from functools import partial

import torch
from mmengine.dist import all_reduce_dict, get_world_size
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ..errors import LearngeneError
from ..registry import MODELS
from .aux_net import AuxNet, classifier_preprocessor
from .distill_loss import DistillLoss, scaled
from .teachers import Teacher


@MODELS.register_module()
class LearngeneDistiller(BaseClassifier):
    """Train ``student`` by ``(1 - alpha) * its own loss + alpha * distillation`` from a frozen teacher.

    The teacher sees the very batch that the student sees, mixed and augmented, in its own normalisation. It is always
    in evaluation mode, runs without gradients, and is not part of parameters, checkpoints or averages. It runs once a
    step, also where an :class:`AuxNet` trains several sizes.

    Args:
        student: config of a classifier: :class:`AuxNet`, or a ``mmpretrain.ImageClassifier`` for plain distillation.
        teacher: config of a teacher, see :mod:`mmlearngene.models.teachers`.
        distill: arguments of :class:`DistillLoss`.
        alpha: weight of the distillation; 1 is distillation alone.
        data_preprocessor: see ``mmpretrain.ImageClassifier``.
        train_cfg: see ``mmpretrain.ImageClassifier``; gives batch augmentations.
        init_cfg: see ``mmengine.model.BaseModule``.

    Raises:
        LearngeneError: alpha is outside 0 to 1, or student and teacher have different numbers of classes (told at the
            first batch).
    """

    def __init__(
        self,
        student: dict,
        teacher: dict,
        distill: dict | None = None,
        alpha: float = 1.0,
        data_preprocessor: dict | None = None,
        train_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg, data_preprocessor=classifier_preprocessor(data_preprocessor, train_cfg))
        if not 0 <= alpha <= 1:
            raise LearngeneError(f"alpha={alpha} must be in 0 to 1; the nearest is {min(max(alpha, 0), 1)}")
        self.alpha = alpha
        self.student = MODELS.build(student)
        self.distill = DistillLoss(**(distill or {}))
        self._teacher = _Frozen(MODELS.build(teacher))
        own = getattr(self.student, "provenance", {})
        self.provenance = {**own, "teacher": {key: str(value) for key, value in teacher.items()}}

    @property
    def teacher(self) -> Teacher:
        """The frozen teacher; no submodule of the distiller."""
        return self._teacher.module

    def _apply(self, fn, *args, **kwargs) -> LearngeneDistiller:
        self.teacher._apply(fn)  # moves to the student's device, though it is no submodule
        return super()._apply(fn, *args, **kwargs)

    def forward(self, inputs: Tensor, data_samples: list[DataSample] | None = None, mode: str = "tensor"):
        """As ``mmpretrain.ImageClassifier.forward``; predictions are the student's.

        Args:
            inputs: (B, C, H, W).
            data_samples: annotations; the loss needs them where ``alpha`` is below 1.
            mode: ``tensor``, ``loss`` or ``predict``.
        """
        if mode != "loss":
            return self.student(inputs, data_samples, mode)
        with torch.no_grad():
            target = self.teacher(inputs, self.data_preprocessor)
        loss_of = partial(self._losses, target=target, data_samples=data_samples)
        if isinstance(self.student, AuxNet):
            return self.student.losses(inputs, loss_of)
        return loss_of(self.student(inputs))

    def _losses(self, logits: Tensor, target: Tensor, data_samples: list[DataSample] | None) -> dict[str, Tensor]:
        """The losses of the student's logits against the teacher's, both (B, classes)."""
        if target.shape != logits.shape:
            raise LearngeneError(
                f"the teacher has {target.shape[1]} classes and the student {logits.shape[1]}; "
                f"expected the student's head to have num_classes={target.shape[1]}"
            )
        losses = {"loss_distill": self.alpha * self.distill(logits, target)}
        if self.alpha < 1:
            losses |= scaled(self.student.head._get_loss(logits, data_samples), 1 - self.alpha)
        return losses

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """As mmengine's, but the logged values are means over all processes; mmengine would log the first one's."""
        total, log_vars = super().parse_losses(losses)
        if get_world_size() > 1:
            log_vars = {name: value.detach().clone() for name, value in log_vars.items()}
            all_reduce_dict(log_vars, op="mean")
        return total, log_vars


class _Frozen:
    """Holds a module out of its owner's submodules; copies of the owner share it."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module.eval().requires_grad_(False)

    def __deepcopy__(self, memo: dict) -> _Frozen:
        return self
