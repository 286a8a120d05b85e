"""Distillation of tokens: a student's tokens, behind a projection, against those of a frozen teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mmengine.logging import print_log
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ..errors import LearngeneError
from ..registry import MODELS
from ..use.tokens import Tokens, describe, token_model
from .aux_net import AuxNet
from .distill_loss import mean
from .feature_loss import FeatureLoss, Standardiser, TokenPair, cosine
from .teachers import Teacher


class TokenDistillation:
    """The part of a :class:`~mmlearngene.models.LearngeneDistiller` that works with ``features``.

    Attributes:
        student: the classifier that is trained; its head is the projection to the teacher's width.
        teacher: the frozen teacher.
        features: the losses of tokens, which add up.
        standardiser: of the teacher's tokens; None where they are taken as they are.
    """

    student: nn.Module
    teacher: Teacher
    features: nn.ModuleList
    standardiser: Standardiser | None
    _said = False

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
