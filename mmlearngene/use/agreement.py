"""How much of a teacher's tokens a smaller ViT keeps, on images without labels.

Two numbers in percent, both on images that nothing was fitted to. The *cosine* is that of the student's patch tokens to
the teacher's, after the linear layer that fits them best on other images (least squares, in closed form); the teacher's
mean token is taken off both, as it alone would make every cosine high. The *neighbours* are the share of an image's
nearest images, by the teacher's summaries, that are the nearest by the student's own summaries too.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import LearngeneError
from ..learngenes.attention import read_images
from .probes import Judged
from .tokens import Tokens

NEIGHBOURS = 10
_LEAST = 2 * NEIGHBOURS + 4  # images: in the tested half, an image has more others than neighbours
_RIDGE = 1e-6  # of the mean eigenvalue, so that tokens of one line can be solved for


class Agreement:
    """A teacher's tokens of some images, with which those of students are compared.

    Args:
        teacher: the model.
        data: folder of images, in subfolders or not, or what else
            :func:`~mmlearngene.learngenes.attention.read_images` reads.
        num_images: how many of them; the first half of the draw fits the linear layer, the other is tested.
        seed: of the draw.

    Raises:
        LearngeneError: there are too few images, or tokens of the teacher are no finite numbers.
    """

    def __init__(self, teacher: Judged, data: str | Path, num_images: int = 256, seed: int = 0) -> None:
        self.data, self.num_images, self.seed = data, num_images, seed
        self._images: dict[tuple, list[Tensor]] = {}
        self.patches, summaries = self._tokens(teacher)
        self.count = len(summaries)
        if self.count < _LEAST:
            raise LearngeneError(
                f"{data}: {self.count} images are too few to compare tokens on; expected {_LEAST} or more, and some "
                "hundred for a ranking"
            )
        self._nearest = _nearest(summaries[self.count // 2 :])

    def of(self, student: Judged) -> dict[str, float]:
        """What a student keeps: ``cosine`` and ``neighbours``, in percent.

        Raises:
            LearngeneError: tokens of the student are no finite numbers.
        """
        patches, summaries = self._tokens(student)
        grid, half = patches.shape[1:3], self.count // 2
        wanted = Tokens(self.patches, self.patches).on_grid(grid).patches
        fitted, target = (tokens[:half].flatten(0, 2) for tokens in (patches, wanted))
        weight, own_mean, mean = _least_squares(fitted, target)
        found = (patches[half:].flatten(0, 2) - own_mean) @ weight
        cosine = F.cosine_similarity(found, wanted[half:].flatten(0, 2) - mean, dim=1).mean().item()
        kept = (_nearest(summaries[half:])[:, :, None] == self._nearest[:, None]).any(2).float().mean().item()
        return dict(cosine=100 * cosine, neighbours=100 * kept)

    def _tokens(self, model: Judged) -> tuple[Tensor, Tensor]:
        """Patch tokens (N, rows, columns, C) and summaries (N, C') of all images."""
        how = dict(img_size=max(model.spec.img_size), mean=model.mean, std=model.std)
        key = tuple(how.values())
        if key not in self._images:  # all sizes of a learngene are shown the same
            self._images[key] = list(read_images(self.data, model.spec, self.num_images, self.seed, **how))
        found = [model.tokens(images) for images in self._images[key]]
        patches, summaries = (torch.cat(parts) for parts in zip(*found, strict=True))
        if not (patches.isfinite().all() and summaries.isfinite().all()):
            raise LearngeneError(f"{model.name} has tokens that are no finite numbers; expected a trained model")
        return patches, summaries


def _least_squares(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weight (C, D) of the linear layer from inputs (N, C) to targets (N, D), both without means; and the means."""
    means = inputs.mean(0), targets.mean(0)
    x, y = (tensor.double() - mean for tensor, mean in zip((inputs, targets), means, strict=True))
    gram = x.T @ x
    gram.diagonal().add_(_RIDGE * gram.diagonal().mean() + 1e-12)
    return torch.linalg.solve(gram, x.T @ y).to(inputs.dtype), *means


def _nearest(summaries: Tensor) -> Tensor:
    """The nearest other images (N, k) of each, by the cosine of their summaries (N, C) without the mean."""
    unit = F.normalize(summaries - summaries.mean(0), dim=1)
    similar = unit @ unit.T
    return similar.fill_diagonal_(-torch.inf).topk(NEIGHBOURS, dim=1).indices
