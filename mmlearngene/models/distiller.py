"""Distillation of a student, an Aux-Net or any classifier, from a frozen teacher: of its logits or of its tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from mmengine.dist import all_reduce_dict, get_world_size
from mmengine.logging import print_log
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import LearngeneError
from ..registry import MODELS
from ..use.tokens import Tokens, describe, token_model
from .aux_net import AuxNet, classifier_preprocessor
from .distill_loss import DistillLoss, apart, mean, scaled
from .feature_loss import FeatureLoss, Standardiser, TokenPair, cosine
from .sizes import Step
from .teachers import Teacher, build_teacher

_RESOLUTION = 1  # resolutions are drawn apart from sizes


@MODELS.register_module()
class LearngeneDistiller(BaseClassifier):
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
        self._said = False
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
        if features:
            self.provenance["features"] = [str(dict(loss)) for loss in features]

    def _student_of_features(self, student: dict) -> nn.Module:
        """The student, its classifier a projection to the teacher's width."""
        width = self.teacher.token_model.width
        if "learngene" in student:
            learngene = student["learngene"]
            learngene = learngene if isinstance(learngene, nn.Module) else MODELS.build(learngene)
            built = MODELS.build({**student, "learngene": learngene.with_classes(width)})
            if built.in_place:
                raise LearngeneError("in_place teaches logits, and a student of features has none; leave it out")
            return built
        built = MODELS.build(student)
        classifier = token_model(built).classifier
        if classifier is None or classifier.out_features != width:
            raise LearngeneError(
                f"the teacher's tokens have {width} channels; expected the student's head to have num_classes={width}, "
                f"not {classifier and classifier.out_features}"
            )
        return built

    def _start(self, features: Sequence[dict], standardise: bool) -> None:
        """Build the losses of tokens."""
        teacher = self.teacher.token_model
        for loss in features:
            built = MODELS.build({"_scope_": "mmlearngene", **loss})
            if not isinstance(built, FeatureLoss):
                raise LearngeneError(
                    f"features: {loss['type']} is no loss of tokens; expected ProteusLoss, RadioLoss, SimilarityLoss "
                    "or LogitsLoss"
                )
            built.start(teacher)
            self.features.append(built)
        if standardise:
            self.standardiser = Standardiser(teacher.width)

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

    # ------------------------------------------------------------------ tokens

    def _views(self, img_size: tuple[int, int] | None = None) -> Iterator[Callable[..., Tokens]]:
        """From images to tokens, for each size of a step; with ``project=True`` also behind the projection."""
        if isinstance(self.student, AuxNet):
            yield from (network.tokens for network in self.student.networks(img_size))
        else:
            yield token_model(self.student)

    def _feature_losses(self, inputs: Tensor, target: Tokens) -> dict[str, Tensor]:
        """The mean over the sizes of a step of the losses of the student's tokens against the teacher's."""
        if not self._said:
            self._said = True
            gives = describe(self.teacher.token_model, target)
            print_log(f"the teacher gives {gives}; it sees {self.teacher.sees}", logger="current")
        restore = self.standardiser.restore if self.standardiser else lambda tokens: tokens
        if self.standardiser:
            if self.training:
                self.standardiser.observe(target)
            target = self.standardiser(target)
        if self.training:
            for loss in self.features:
                loss.observe(target)
        teacher_grid = target.patches.shape[1:3]
        found = []
        for view in self._views(tuple(inputs.shape[-2:])):

            def see(images: Tensor, view=view) -> Tokens:
                return view(images, project=True)[1].on_grid(teacher_grid)

            own, projected = view(inputs, project=True)
            grid = tuple(own.patches.shape[1:3])
            pair = TokenPair(projected.on_grid(teacher_grid), target, inputs, grid, see, restore)
            losses: dict[str, Tensor] = {}
            for loss in self.features:
                for name, value in loss(pair).items():
                    if name == "loss":  # mmengine's name of the sum of all
                        raise LearngeneError(f"{type(loss).__name__} names a loss 'loss'; expected 'loss_' and a word")
                    losses[name] = losses.get(name, 0) + value
            found.append(losses)
        return mean(found)

    def _described(self, inputs: Tensor, data_samples: list[DataSample] | None) -> list[DataSample]:
        """Data samples with the student's ``feature`` (C,), its summary of an image in its own width, and its cosine to
        the teacher's summary and, as a mean over patches, to the teacher's patches; none for images of a bank.
        """
        samples = data_samples or [DataSample() for _ in inputs]
        own, projected = next(self._views())(inputs, project=True)
        for sample, feature in zip(samples, own.summary, strict=True):
            sample.set_field(feature, "feature")
        asked = [i for i, sample in enumerate(samples) if not sample.get("in_bank", False)]
        if asked:
            teacher = self.teacher.tokens(inputs[asked], self.data_preprocessor)
            student = projected.map(lambda token: token[asked])
            student = self.standardiser.restore(student) if self.standardiser else student
            student = student.on_grid(teacher.patches.shape[1:3])
            summary, patches = cosine(student.summary, teacher.summary), cosine(student.patches, teacher.patches)
            for i, one, other in zip(asked, summary.tolist(), patches.mean((1, 2)).tolist(), strict=True):
                samples[i].set_field(dict(summary=one, patches=other), "cosine")
        return samples

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
