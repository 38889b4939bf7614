"""Network of the division detector. Imports torch: import it inside functions only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from smartscope.training._nets import SmallUNet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Above this many standard deviations brightness is compressed.
_KNEE = 4.0
# A division covers few pixels: so much more do they count.
_EVENT_WEIGHT = 6.0


class DivisionNet(nn.Module):
    """Score map of the newest of a few frames, at half resolution.

    The frames are the channels, oldest first, with zero mean and unit variance over all
    of them.
    """

    def __init__(
        self, window: int, widths: Sequence[int] = (24, 40, 56, 64), head: int = 24
    ) -> None:
        super().__init__()
        self.body = SmallUNet(window, 1, widths, head=head, stem_stride=2)
        self.stride = self.body.stride
        bias = self.body.head.bias
        if bias is not None:
            nn.init.constant_(bias, -4.0)  # nearly everywhere nothing happens

    def raw(self, x: Tensor) -> Tensor:
        """Logits of the score, `(b, 1, y/2, x/2)`."""
        found: Tensor = self.body(x / (1.0 + x.abs() / _KNEE))
        return found.float()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(b, window, y, x)` to a score in 0..1."""
        return torch.sigmoid(self.raw(x))


def division_loss(
    net: nn.Module, batch: Mapping[str, Tensor]
) -> tuple[Tensor, Mapping[str, float]]:
    """Cross-entropy with the score map where there is one right answer."""
    heat, counts = batch["heat"], batch["counts"]
    logit = net.raw(batch["image"])  # type: ignore[operator]
    weight = (1.0 + _EVENT_WEIGHT * heat) * counts
    cross = functional.binary_cross_entropy_with_logits(logit, heat, weight=weight)
    least = functional.binary_cross_entropy(heat, heat, weight=weight)
    return cross, {"over": float((cross - least).detach())}
