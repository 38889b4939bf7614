"""What networks are punished for. Imports torch: import it inside functions only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping

# Small objects have few pixels but count as much as large ones: pixels of objects of
# this radius weigh 1, smaller ones more.
_RADIUS_PX = 12.0


def star_loss(
    net: nn.Module, batch: Mapping[str, Tensor]
) -> tuple[Tensor, Mapping[str, float]]:
    """Cross-entropy of the probability plus the relative error of the rays.

    The error of the rays of a pixel is their mean absolute error over their mean
    length, which to first order is half of 1 minus the overlap of both polygons; pixels
    count as much as they are inside, and inversely to the size of their object.
    """
    logit, log_length = net.raw(batch["image"])  # type: ignore[operator]
    prob = batch["prob"]
    within = prob[:, 0] > 0
    weight = torch.clamp(_RADIUS_PX / batch["radius"].clamp_min(1.0), 0.5, 2.0)
    weight = torch.where(prob > 0, weight, 1.0)
    cross = functional.binary_cross_entropy_with_logits(
        logit.float(), prob, reduction="none"
    )
    cross = (cross * weight).mean()
    # Most of a crop is background, which has no rays: only what counts is computed.
    length = torch.exp(torch.clamp(log_length.permute(0, 2, 3, 1)[within], -3.0, 6.0))
    rays = batch["rays"].permute(0, 2, 3, 1)[within]
    error = (length - rays).abs().mean(1) / rays.mean(1).clamp_min(1.0)
    trust = (prob * weight)[:, 0][within]
    relative = (error * trust).sum() / trust.sum().clamp_min(1.0)
    parts = {"cross": float(cross.detach()), "rays": float(relative.detach())}
    return cross + 0.5 * relative, parts
