"""Batch normalisation for a machine on which the processes cannot share their statistics."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..registry import MODELS


@MODELS.register_module()
class SingleBatchNorm(nn.BatchNorm2d):
    """``BatchNorm2d`` that in training also takes one value a channel, which has no variance.

    That is a map pooled to 1 x 1 of the only image in a process, as in UperNet's pyramid. It is normalised by the
    running statistics, which it leaves alone. Weights are those of BN and of SyncBN.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)
