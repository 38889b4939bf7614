"""Network of the spot detector. Imports torch: import it inside functions only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from smartscope.training._nets import SmallUNet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Width of the local background, and where bright structure is compressed, in noises.
_NEAR_PX = 9
_KNEE = 20.0
# Mean of the absolute value of a Gaussian, over its standard deviation.
_MEAN_ABS = 0.7979
# Noise that is assumed at least, in standard deviations of the image.
_LEAST_NOISE = 0.01
# A spot covers few pixels: so much more do they count.
_SPOT_WEIGHT = 20.0


class SpotNet(nn.Module):
    """Heat map of spots at full resolution, from features at half of it.

    The image comes with unit variance. Inside, its noise is estimated (Immerkaer 1996:
    the mean absolute answer to a difference of two Laplacians), and the network sees
    what stands out of the local background in units of that noise, and the background.
    """

    def __init__(self, widths: Sequence[int] = (24, 40, 64), head: int = 24) -> None:
        super().__init__()
        self.body = SmallUNet(2, 4, widths, head=head, stem_stride=2)
        self.stride = self.body.stride
        kernel = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
        self.register_buffer("mask", kernel[None, None] / (6.0 * _MEAN_ABS))
        bias = self.body.head.bias
        if bias is not None:
            nn.init.constant_(bias, -4.0)  # nearly all pixels hold no spot

    def seen(self, x: Tensor) -> Tensor:
        """Both channels the body reads, `(b, 2, y, x)`."""
        half = _NEAR_PX // 2
        near = x
        # Columns and rows one after the other: the same mean, four times as fast.
        for size, pad in (((_NEAR_PX, 1), (half, 0)), ((1, _NEAR_PX), (0, half))) * 2:
            near = functional.avg_pool2d(near, size, 1, pad, count_include_pad=False)
        answer = functional.conv2d(x, self.mask)  # type: ignore[arg-type]
        noise = answer.abs().mean((1, 2, 3), keepdim=True) + _LEAST_NOISE
        local = (x - near) / noise
        local = local / (1.0 + local.abs() / _KNEE)
        level = near / (1.0 + near.abs())
        return torch.cat([local * 0.3, level], dim=1)

    def raw(self, x: Tensor) -> Tensor:
        """Logits of the heat map, `(b, 1, y, x)`."""
        with torch.autocast(x.device.type, enabled=False):
            seen = self.seen(x.float())
        return functional.pixel_shuffle(self.body(seen).float(), 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(b, 1, y, x)`, zero mean and unit variance, to a map in 0..1."""
        return torch.sigmoid(self.raw(x))


def spot_loss(
    net: nn.Module, batch: Mapping[str, Tensor]
) -> tuple[Tensor, Mapping[str, float]]:
    """Cross-entropy with the heat map, pixels of spots weighing more."""
    heat = batch["heat"]
    logit = net.raw(batch["image"])  # type: ignore[operator]
    weight = 1.0 + _SPOT_WEIGHT * heat
    cross = functional.binary_cross_entropy_with_logits(logit, heat, weight=weight)
    # The least there can be: what the truth itself would cost.
    least = functional.binary_cross_entropy(heat, heat, weight=weight)
    return cross, {"over": float((cross - least).detach())}
