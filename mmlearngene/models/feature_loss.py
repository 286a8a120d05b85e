"""Losses of a student's tokens against a teacher's: entries of ``LearngeneDistiller(features=[...])``, which add up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from mmengine.dist import all_gather, all_reduce
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import LearngeneError
from ..registry import MODELS
from ..use.tokens import TokenModel, Tokens
from .distill_loss import DistillLoss


@dataclass(frozen=True)
class TokenPair:
    """What a loss of tokens looks at, at one size of the student.

    Attributes:
        student: the student's tokens behind its projection, so as wide as the teacher's, on the teacher's grid.
        teacher: the teacher's tokens.
        inputs: the student's images (B, C, H, W), normalised.
        grid: the student's own patches (rows, columns).
        see: from other images to the student's tokens, likewise.
        restore: from what is compared to the teacher's own tokens, where these are standardised.
    """

    student: Tokens
    teacher: Tokens
    inputs: Tensor
    grid: tuple[int, int]
    see: Callable[[Tensor], Tokens]
    restore: Callable[[Tokens], Tokens]


class FeatureLoss(nn.Module):
    """A loss of tokens; what it stores (a queue) is part of the checkpoint."""

    def start(self, teacher: TokenModel) -> None:
        """Learn about the teacher, once, before anything else."""

    def observe(self, teacher: Tokens) -> None:
        """Look at the teacher's tokens of a training step, before the losses of its sizes."""

    def forward(self, pair: TokenPair) -> dict[str, Tensor]:
        """Losses by name."""
        raise NotImplementedError


@MODELS.register_module()
class ProteusLoss(FeatureLoss):
    """Proteus (Zhang et al., ICLR 2025, section 3): mean squared errors, each behind LayerNorm and a linear layer.

    Here the norm and the linear layer are the student's final norm and its projection, one for all three; and a masked
    patch is 0 in the normalised image, so that its embedding is the bias of the patch embedding, where Proteus has a
    token of its own.

    Args:
        token: weight of the summary: the class token, or what is pooled.
        feature: weight of summary and patches together.
        patch: weight of the patches where the student saw masks.
        mask_probability: share of the images that have masks, the first ones of a batch, as in the released code.
        mask_ratio: share of their patches.
    """

    def __init__(
        self,
        token: float = 1.0,
        feature: float = 1.0,
        patch: float = 1.0,
        mask_probability: float = 0.5,
        mask_ratio: float = 0.5,
    ) -> None:
        super().__init__()
        for name, value in (("mask_probability", mask_probability), ("mask_ratio", mask_ratio)):
            if not 0 < value <= 1:
                raise LearngeneError(f"{name}={value} must be above 0 and at most 1; the usual value is 0.5")
        self.token, self.feature, self.patch = token, feature, patch
        self.mask_probability, self.mask_ratio = mask_probability, mask_ratio

    def forward(self, pair: TokenPair) -> dict[str, Tensor]:
        student, teacher = pair.student, pair.teacher
        losses = {}
        if self.token:
            losses["loss_proteus_token"] = self.token * F.mse_loss(student.summary, teacher.summary)
        if self.feature:
            both = [torch.cat((t.summary[:, None], t.patches.flatten(1, 2)), 1) for t in (student, teacher)]
            losses["loss_proteus_feature"] = self.feature * F.mse_loss(*both)
        if self.patch:
            losses["loss_proteus_patch"] = self.patch * self._masked(pair)
        return losses

    def _masked(self, pair: TokenPair) -> Tensor:
        count = max(1, round(self.mask_probability * len(pair.inputs)))
        images, teacher = pair.inputs[:count], pair.teacher.patches[:count]
        mask = random_mask(count, pair.grid, self.mask_ratio, images.device)
        student = pair.see(images * ~_resized(mask, images.shape[-2:])[:, None]).patches
        seen = _resized(mask, teacher.shape[1:3])
        return F.mse_loss(student[seen], teacher[seen])


def random_mask(count: int, grid: tuple[int, int], ratio: float, device: torch.device) -> Tensor:
    """(count, rows, columns), true at ``ratio`` of the places of each, one at least."""
    places = grid[0] * grid[1]
    ranks = torch.rand(count, places, device=device).argsort(1).argsort(1)
    return (ranks < max(1, int(ratio * places))).unflatten(1, grid)


def _resized(mask: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(mask[:, None].float(), tuple(size), mode="nearest")[:, 0] > 0.5


@MODELS.register_module()
class RadioLoss(FeatureLoss):
    """AM-RADIO (Ranzinger et al., CVPR 2024, eq. 2 and 3), which EUPE (Zhu et al., 2026) takes over.

    ``1 - cosine`` of the class token; for the patches ``cosine * (1 - cosine) + smooth_l1 * smooth-L1``; in float32.

    Args:
        token: weight of the summary: the class token, or what is pooled.
        patch: weight of the patches.
        cosine: weight of the cosine within the patches' loss.
        smooth_l1: weight of the smooth L1 distance within it.
    """

    def __init__(self, token: float = 1.0, patch: float = 1.0, cosine: float = 0.9, smooth_l1: float = 0.1) -> None:
        super().__init__()
        self.token, self.patch, self.cosine, self.smooth_l1 = token, patch, cosine, smooth_l1

    def forward(self, pair: TokenPair) -> dict[str, Tensor]:
        losses = {}
        if self.token:
            losses["loss_radio_token"] = self.token * (1 - cosine(pair.student.summary, pair.teacher.summary).mean())
        if self.patch:
            student, teacher = pair.student.patches.float(), pair.teacher.patches.float()
            angle = 1 - cosine(student, teacher).mean()
            distance = F.smooth_l1_loss(student, teacher)
            losses["loss_radio_patch"] = self.patch * (self.cosine * angle + self.smooth_l1 * distance)
        return losses


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """Cosine along the last axis, in float32 also under autocast."""
    with torch.autocast(one.device.type, enabled=False):
        return F.cosine_similarity(one.float(), other.float(), dim=-1)


@MODELS.register_module()
class SimilarityLoss(FeatureLoss):
    """Which tokens are alike, not what they are: KL divergences of similarities, as in LightlyTrain's distillation v3.

    Of the patches: within each image the similarities of every patch to all of them, L2-normalised tokens, softmax at
    ``tau``, teacher against student. Of the class token: likewise its similarities to a queue of the teacher's class
    tokens, those of this step and of the ones before, of all processes. Sums over the distribution, means over the
    rest.

    Args:
        token: weight of the summary: the class token, or what is pooled.
        patch: weight of the patches.
        tau: temperature.
        queue_size: class tokens in the queue, more than a step has.
    """

    def __init__(self, token: float = 1.0, patch: float = 1.0, tau: float = 0.07, queue_size: int = 4096) -> None:
        super().__init__()
        if tau <= 0 or queue_size < 2:
            raise LearngeneError(f"tau={tau} must be positive and queue_size={queue_size} 2 or more")
        self.token, self.patch, self.tau, self.queue_size = token, patch, tau, queue_size

    def start(self, teacher: TokenModel) -> None:
        self.register_buffer("queue", torch.zeros(self.queue_size, teacher.width))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def observe(self, teacher: Tokens) -> None:
        if not self.token:
            return
        new = torch.cat(all_gather(F.normalize(teacher.summary.float(), dim=-1)))[: self.queue_size]
        self.queue.copy_(torch.cat((new, self.queue))[: self.queue_size])
        self.filled.add_(len(new)).clamp_(max=self.queue_size)

    def forward(self, pair: TokenPair) -> dict[str, Tensor]:
        with torch.autocast(pair.inputs.device.type, enabled=False):
            student, teacher = (
                tokens.map(lambda token: F.normalize(token.float(), dim=-1)) for tokens in (pair.student, pair.teacher)
            )
            losses = {}
            if self.token and self.filled:
                queue = self.queue[: self.filled]
                logits = [tokens.summary @ queue.T for tokens in (student, teacher)]
                losses["loss_similarity_token"] = self.token * self._divergence(*logits)
            if self.patch:
                patches = [tokens.patches.flatten(1, 2) for tokens in (student, teacher)]
                logits = [tokens @ tokens.transpose(1, 2) for tokens in patches]
                losses["loss_similarity_patch"] = self.patch * self._divergence(*logits)
        return losses

    def _divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """KL(teacher || student) of similarities (..., n), a mean over all but the last axis."""
        student, teacher = (F.log_softmax(logits.flatten(0, -2) / self.tau, -1) for logits in (student, teacher))
        return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


@MODELS.register_module()
class LogitsLoss(FeatureLoss):
    """Distillation of logits: the teacher's own classifier on its tokens and on the student's.

    A student of tokens has no classifier of its own; the teacher's is reused, as in SimKD (Chen et al., CVPR 2022).

    Args:
        weight: of the loss.
        **distill: arguments of :class:`DistillLoss`.

    Raises:
        LearngeneError: the teacher has no linear classifier (told when the distiller is built).
    """

    def __init__(self, weight: float = 1.0, **distill) -> None:
        super().__init__()
        self.weight = weight
        self.distill = DistillLoss(**distill)
        self._classifier: tuple[nn.Linear, ...] = ()  # in a tuple: no part of this module

    def start(self, teacher: TokenModel) -> None:
        if teacher.classifier is None:
            raise LearngeneError(
                f"LogitsLoss needs a teacher with a linear classifier, and {type(teacher.model).__name__} has none; "
                "expected an image classifier, or features=[...] without LogitsLoss"
            )
        self._classifier = (teacher.classifier,)

    def forward(self, pair: TokenPair) -> dict[str, Tensor]:
        logits = [self._classifier[0](pair.restore(tokens).summary) for tokens in (pair.student, pair.teacher)]
        return {"loss_logits": self.weight * self.distill(*logits)}


class RunningMoments(nn.Module):
    """Mean and variance of each channel of all vectors that were seen in training, in all processes.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        for name in ("total", "squares"):
            self.register_buffer(name, torch.zeros(width, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def observe(self, vectors: Tensor) -> None:
        """Add vectors (..., width)."""
        vectors = vectors.flatten(0, -2).double()
        new = torch.cat((vectors.sum(0), vectors.square().sum(0), vectors.new_tensor([len(vectors)])))
        all_reduce(new)
        total, squares, count = new.split((len(self.total), len(self.total), 1))
        self.total.add_(total), self.squares.add_(squares), self.count.add_(count[0])

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (width,), float32; 0 and 1 before anything was seen."""
        count = self.count.clamp(min=1)
        mean = self.total / count
        variance = (self.squares / count - mean.square()).clamp(min=0)
        std = torch.where(self.count > 0, (variance + 1e-6).sqrt(), torch.ones_like(variance))
        return mean.float(), std.float()


class Standardiser(nn.Module):
    """Makes each channel of the teacher's tokens of mean 0 and deviation 1, summary and patches apart.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches, self.summary = RunningMoments(width), RunningMoments(width)

    def observe(self, tokens: Tokens) -> None:
        """Look at the teacher's tokens of a training step."""
        self.patches.observe(tokens.patches)
        self.summary.observe(tokens.summary)

    def forward(self, tokens: Tokens) -> Tokens:
        """The teacher's tokens standardised."""
        return self._each(tokens, lambda token, mean, std: (token - mean) / std)

    def restore(self, tokens: Tokens) -> Tokens:
        """The way back, for the student's tokens too."""
        return self._each(tokens, lambda token, mean, std: token * std + mean)

    def _each(self, tokens: Tokens, fn: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tokens:
        moments = (self.patches, self.summary)
        return Tokens(*(fn(token.float(), *m.moments()) for token, m in zip(tokens, moments, strict=True)))
