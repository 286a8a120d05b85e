"""Distillation of a student, an Aux-Net or any classifier, from a frozen teacher: of its logits, or of its tokens.

Losses of logits are in ``distill_loss.py``; what is done with tokens is in ``distill_tokens.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from mmengine.dist import all_reduce_dict, get_world_size
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import LearngeneError
from ..io.licenses import licenses_in, say_terms, with_licenses
from ..registry import MODELS
from .aux_net import AuxNet, classifier_preprocessor
from .distill_loss import DistillLoss, apart, scaled
from .distill_tokens import TokenDistillation
from .sizes import Step
from .teachers import Teacher, build_teacher, licenses_of_teacher

_RESOLUTION = 1  # resolutions are drawn apart from sizes


@MODELS.register_module()
class LearngeneDistiller(TokenDistillation, BaseClassifier):
    """Train ``student`` by ``(1 - alpha) * its own loss + alpha * distillation`` from a frozen teacher.

    The log has ``loss_distill``, ``head.loss`` (the student's own) and ``loss``, which is their sum.

    The teacher sees the very batch that the student sees, mixed and augmented, in its own normalisation. It is always
    in evaluation mode, runs without gradients, and is not part of parameters, checkpoints or averages. It runs once a
    step, also where an :class:`AuxNet` trains several sizes.

    With ``features`` the teacher's tokens are distilled, without labels, at every size that is trained. The student's
    tokens go through its own classifier, one linear layer behind its final norm, which has the teacher's width for
    classes: whatever makes a learngene's head at a size makes the projection at that size. The learngene's file is
    written without it. Predictions are then the student's ``feature`` of an image and its ``cosine`` to the teacher.

    Args:
        student: config of a classifier: :class:`AuxNet`, or a ``mmpretrain.ImageClassifier`` for plain distillation.
        teacher: config of a teacher, see :mod:`mmlearngene.models.teachers`.
        distill: arguments of :class:`DistillLoss`.
        alpha: weight of the distillation; 1 is distillation alone.
        data_preprocessor: see ``mmpretrain.ImageClassifier``.
        train_cfg: see ``mmpretrain.ImageClassifier``; gives batch augmentations.
        init_cfg: see ``mmengine.model.BaseModule``.
        features: configs of losses of tokens, which add up, see :mod:`mmlearngene.models.feature_loss`.
        standardise: with ``features``: every channel of the teacher's tokens gets mean 0 and deviation 1, by the
            moments of all that were seen so far.
        mixup: every batch of images is mixed with itself, permuted, in a share drawn from 0 to 1; without labels.
        resolutions: sides or (height, width) of the student's images in training, one of them a step, the same in
            every process; images are resized to it for the student, whose positions follow. The teacher sees them as
            they come.

    Raises:
        LearngeneError: alpha is outside 0 to 1, student and teacher have different numbers of classes (told at the
            first batch), or an option does not go with ``features`` or with labels.
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
        features: Sequence[dict] = (),
        standardise: bool = False,
        mixup: bool = False,
        resolutions: Sequence[int | tuple[int, int]] = (),
    ) -> None:
        super().__init__(init_cfg=init_cfg, data_preprocessor=classifier_preprocessor(data_preprocessor, train_cfg))
        if not 0 <= alpha <= 1:
            raise LearngeneError(f"alpha={alpha} must be in 0 to 1; the nearest is {min(max(alpha, 0), 1)}")
        if mixup and alpha < 1:
            raise LearngeneError(
                f"mixup=True mixes images without their labels, which alpha={alpha} needs; leave it out and give "
                "train_cfg=dict(augments=dict(type='Mixup', alpha=0.8))"
            )
        self.alpha = alpha
        self.mixup = mixup
        self.resolutions = [(side, side) if isinstance(side, int) else tuple(side) for side in resolutions]
        self.features = nn.ModuleList()
        self.standardiser = None
        if features:
            if distill is not None or alpha < 1:
                raise LearngeneError(
                    "features=[...] needs no labels and no logits: leave out alpha and distill; for the teacher's "
                    "logits add dict(type='LogitsLoss', ...) to features"
                )
            self._teacher = _Frozen(MODELS.build(teacher))
            self.student = self._student_of_features(student)
            self._start(features, standardise)
        else:
            if standardise:
                raise LearngeneError("standardise=True is of the teacher's tokens; expected features=[...] beside it")
            self.student = MODELS.build(student)
            self._teacher = _Frozen(build_teacher(teacher))
        if self.resolutions and not isinstance(self.student, AuxNet):
            raise LearngeneError(
                f"resolutions needs an AuxNet, whose positions follow, not {type(self.student).__name__}"
            )
        self.distill = DistillLoss(**(distill or {}))
        own = getattr(self.student, "provenance", {})
        self.provenance = {**own, "teacher": {key: str(value) for key, value in teacher.items()}}
        self.provenance = with_licenses(self.provenance, licenses_of_teacher(teacher))
        say_terms(licenses_in(self.provenance))
        if features:
            self.provenance["features"] = [str(dict(loss)) for loss in features]

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
            mode: ``tensor``, ``loss`` or ``predict``. With ``features``, ``tensor`` gives the student's
                :class:`~mmlearngene.use.tokens.Tokens`, in its own width.
        """
        if mode == "tensor" and self.features:
            return next(self._views())(inputs)
        if mode == "predict" and self.features:
            return self._described(inputs, data_samples)
        if mode != "loss":
            return self.student(inputs, data_samples, mode)
        if self.training and self.mixup:
            share = torch.rand(()).item()
            inputs = share * inputs + (1 - share) * inputs[torch.randperm(len(inputs))]
        own = self._at_resolution(inputs)
        with torch.no_grad():
            target = (self.teacher.tokens if self.features else self.teacher)(inputs, self.data_preprocessor)
        if self.features:
            return self._feature_losses(own, target)
        loss_of = partial(self._losses, target=target, data_samples=data_samples)
        if isinstance(self.student, AuxNet):
            return self.student.losses(own, loss_of)
        return loss_of(self.student(own))

    def _at_resolution(self, inputs: Tensor) -> Tensor:
        """The images as the student sees them at a step."""
        if not (self.training and self.resolutions):
            return inputs
        step = Step.current()
        drawn = np.random.default_rng([step.seed, step.iteration, _RESOLUTION]).integers(len(self.resolutions))
        return F.interpolate(inputs, self.resolutions[drawn], mode="bicubic", antialias=True)

    def _losses(self, logits: Tensor, target: Tensor, data_samples: list[DataSample] | None) -> dict[str, Tensor]:
        """The losses of the student's logits against the teacher's, both (B, classes)."""
        if target.shape != logits.shape:
            raise LearngeneError(
                f"the teacher has {target.shape[1]} classes and the student {logits.shape[1]}; "
                f"expected the student's head to have num_classes={target.shape[1]}"
            )
        losses = {"loss_distill": self.alpha * self.distill(logits, target)}
        if self.alpha < 1:
            own = apart(self.student.head._get_loss(logits, data_samples), "head")
            losses |= scaled(own, 1 - self.alpha)
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
