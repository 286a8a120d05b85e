"""A pyramid of feature maps from the one that a plain ViT has, for detectors."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from ..registry import MODELS


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """The simple feature pyramid of ViTDet (Li, Mao, Girshick, He, ECCV 2022).

    The last map, of stride 16 where patches have 16 pixels, is brought to strides 4, 8, 16 and 32 by two, one or no
    transposed convolutions or a pooling; a 1 x 1 and a 3 x 3 convolution with layer norms follow in each. Further maps
    are poolings.

    Args:
        in_channels: width of the ViT.
        out_channels: of all maps.
        num_outs: number of maps, four or more.
        init_cfg: see ``mmengine.model.BaseModule``.
    """

    def __init__(
        self, in_channels: int, out_channels: int = 256, num_outs: int = 5, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        half, quarter = in_channels // 2, in_channels // 4
        self.num_outs = num_outs
        self.scales = nn.ModuleList(
            [
                nn.Sequential(_double(in_channels, half), LayerNorm2d(half), nn.GELU(), _double(half, quarter)),
                _double(in_channels, half),
                nn.Identity(),
                nn.MaxPool2d(2),
            ]
        )
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, out_channels, 1, bias=False),
                LayerNorm2d(out_channels),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                LayerNorm2d(out_channels),
            )
            for width in (quarter, half, in_channels, in_channels)
        )

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """From feature maps, of which only the last counts, (B, in_channels, H, W), to the pyramid, finest first."""
        maps = [conv(scale(inputs[-1])) for scale, conv in zip(self.scales, self.convs, strict=True)]
        while len(maps) < self.num_outs:
            maps.append(max_pool2d(maps[-1], 1, stride=2))
        return tuple(maps)


def _double(width: int, out: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(width, out, 2, stride=2)
