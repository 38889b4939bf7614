"""The network of the denoiser. Imports torch: import it inside functions only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from smartscope.training._nets import SmallUNet

if TYPE_CHECKING:
    from collections.abc import Sequence

# Mean absolute value of normal noise, over its standard deviation.
_MEAN_TO_SIGMA = 1.2533
# Spread of a frame over its noise up to which all noise is taken away, and from which
# on the frame stays as it is: so much light is beyond what the training showed.
_NOISY, _BRIGHT = 6.0, 10.0


class Denoiser(nn.Module):
    """Camera counts in, camera counts out; what it takes away is learned.

    The noise level is estimated inside (Immerkaer 1996, with a step of two pixels,
    since read-out and interpolation tie neighbours together), so gain, offset and light
    may be any. The network works at half the size and gives four pixels for each of its
    own.

    Parameters
    ----------
    widths : sequence of int
        Channels of each level, from fine to coarse.
    head : int
        Channels before the last convolution.
    """

    mask: Tensor

    def __init__(self, widths: Sequence[int] = (20, 32, 64), head: int = 20) -> None:
        super().__init__()
        self.body = SmallUNet(2, 4, widths, head=head, stem_stride=2)
        self.stride = self.body.stride
        mask = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]]) / 6
        self.register_buffer("mask", mask[None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Restore `(b, 1, y, x)` counts; sizes are multiples of `stride`."""
        # Counts have more digits than bfloat16.
        with torch.autocast("cpu", enabled=False):
            centred = x - x.mean((2, 3), keepdim=True)
            # A runtime in bfloat16 rounds the mean of a high offset to whole counts;
            # the second mean is small, and so is what rounding leaves of it.
            centred = centred - centred.mean((2, 3), keepdim=True)
            rough = functional.conv2d(centred, self.mask, dilation=2).abs()
            noise = rough.mean((2, 3), keepdim=True) * _MEAN_TO_SIGMA + 1e-3
            spread = (centred * centred).mean((2, 3), keepdim=True).sqrt() + 1e-3
            seen = torch.cat([centred / noise, centred / spread], 1)
            share = ((_BRIGHT - spread / noise) / (_BRIGHT - _NOISY)).clamp(0, 1)
        taken = self.body(seen).float()
        if not self.training:
            noise = share * noise
        return x - noise * functional.pixel_shuffle(taken, 2)
