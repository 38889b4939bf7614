"""Small convolutional networks that quantise well and are fast on ordinary processors.

Everything here is made of 3x3 and 1x1 convolutions, batch normalisation, ReLU and
nearest-neighbour upsampling: what every runtime fuses and every int8 kernel knows.
This module imports torch; import it inside functions only.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence


def conv_bn(
    inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1
) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; 'same' padding."""
    return nn.Sequential(
        nn.Conv2d(
            inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False
        ),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions beside an identity (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_bn(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return an array of the shape of `x`, `(b, c, y, x)`."""
        return functional.relu(x + self.second(self.first(x)))


class SmallUNet(nn.Module):
    """U-Net with strided convolutions down and nearest upsampling plus addition up.

    Parameters
    ----------
    inputs : int
        Channels of the image.
    outputs : int
        Channels of the result; no activation follows the last convolution.
    widths : sequence of int
        Channels of each level, from fine to coarse. The first level lies at
        `stem_stride`, each further one at twice the stride of the one before.
    head : int
        Channels of the features before the last 1x1 convolution.
    stem_stride : int
        1 or 2: size of the result is the size of the image divided by it.
    residual : bool
        A residual block at each level of the way down, else one convolution.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        widths: Sequence[int] = (16, 32, 64),
        *,
        head: int | None = None,
        stem_stride: int = 1,
        residual: bool = True,
    ) -> None:
        super().__init__()
        head = head or widths[0]
        block = Residual if residual else lambda n: conv_bn(n, n)
        self.stride = stem_stride * 2 ** (len(widths) - 1)
        self.stem = conv_bn(
            inputs, widths[0], kernel=5 if stem_stride > 1 else 3, stride=stem_stride
        )
        self.enter = block(widths[0])
        steps = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(
            nn.Sequential(conv_bn(fine, coarse, stride=2), block(coarse))
            for fine, coarse in steps
        )
        self.lateral = nn.ModuleList(
            nn.Conv2d(coarse, fine, 1) for fine, coarse in steps
        )
        self.up = nn.ModuleList(
            conv_bn(fine, fine if level else head)
            for level, (fine, _) in enumerate(steps)
        )
        self.last = conv_bn(head, head)
        self.head = nn.Conv2d(head, outputs, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.normal_(self.head.weight, std=0.01)

    def features(self, x: Tensor) -> Tensor:
        """What the last 1x1 convolution reads."""
        x = self.enter(self.stem(x))
        kept = [x]
        for down in self.down:
            x = down(x)
            kept.append(x)
        for level in range(len(self.up) - 1, -1, -1):
            x = functional.interpolate(
                self.lateral[level](x), scale_factor=2.0, mode="nearest"
            )
            x = self.up[level](x + kept[level])
        found: Tensor = self.last(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Map `(b, inputs, y, x)` to `(b, outputs, y / stem_stride, x / stem_stride)`.

        Both sizes must be multiples of `stride`.
        """
        found: Tensor = self.head(self.features(x))
        return found


class StarNet(nn.Module):
    """Object probability and ray lengths at half resolution (Schmidt et al. 2018).

    The output is `(b, 1 + rays, y / 2, x / 2)`: probability in 0..1, then the lengths
    in pixels of the full-resolution image. Lengths are the exponential of what the
    network says, so that the same relative error costs the same for small and large
    objects.
    """

    def __init__(
        self,
        *,
        rays: int = 32,
        widths: Sequence[int] = (24, 48, 56, 64),
        head: int = 32,
        residual: bool = True,
    ) -> None:
        super().__init__()
        self.body = SmallUNet(
            1, 1 + rays, widths, head=head, stem_stride=2, residual=residual
        )
        self.stride = self.body.stride
        bias = self.body.head.bias
        if bias is not None:
            with torch.no_grad():
                bias[0] = -2.0  # most pixels are background: start by saying so
                bias[1:] = math.log(8.0)

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `(b, 1, y/2, x/2)` and logarithms of lengths `(b, rays, y/2, x/2)`."""
        features = self.body.features(x)
        with torch.autocast(features.device.type, enabled=False):
            both = self.body.head(features.float())
        return both[:, :1], both[:, 1:]

    def forward(self, x: Tensor) -> Tensor:
        """Map `(b, 1, y, x)`, scaled to about 0..1, to probability and lengths."""
        both = self.body(x)
        probability = torch.sigmoid(both[:, :1])
        lengths = torch.exp(torch.clamp(both[:, 1:], -3.0, 6.0))
        return torch.cat([probability, lengths], dim=1)


def parameter_count(net: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in net.parameters())


def multiply_adds(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-adds of the convolutions for one input of `shape` `(b, c, y, x)`."""
    total = 0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in net.modules()]
    training = net.training
    net.eval()
    with torch.inference_mode():
        net(torch.zeros(shape))
    net.train(training)
    for hook in hooks:
        hook.remove()
    return total
