"""Resizing of ONNX in PyTorch: the same pixels, by whatever function is fastest.

For each axis the pixel of the input that belongs to one of the output is computed as
ONNX defines it (github.com/onnx/onnx, Resize), in float32 as ONNX Runtime does. Where
a function of PyTorch picks the same pixels it is used, otherwise they are gathered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from smartscope.inference._torch_graph import Trace, Value

_MODES = (
    "half_pixel",
    "pytorch_half_pixel",
    "asymmetric",
    "align_corners",
    "half_pixel_symmetric",
)
_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis: sizes before and after, and the factor, which may be no fraction."""

    old: int
    new: int
    scale: float

    @property
    def same(self) -> bool:
        return self.old == self.new and self.scale == 1

    @property
    def exact(self) -> bool:
        """The factor is that of the sizes."""
        return bool(np.float32(self.scale) == np.float32(self.new / self.old))

    def places(self, mode: str) -> NDArray[np.float32]:
        """Where each pixel of the output lies on the input."""
        at = np.arange(self.new, dtype=np.float32)
        scale, half = np.float32(self.scale), np.float32(0.5)
        if mode == "asymmetric":
            return at / scale
        if mode == "align_corners":
            if self.new == 1:
                return at * 0
            return at * np.float32(self.old - 1) / np.float32(self.new - 1)
        if mode == "pytorch_half_pixel" and self.new == 1:
            return at * 0
        found: NDArray[np.float32] = (at + half) / scale - half
        if mode == "half_pixel_symmetric":
            share = np.float32(self.new) / (scale * np.float32(self.old))
            found = found + np.float32(self.old / 2) * (1 - share)
        return found


def _resize(trace: Trace, image: Value, *inputs: Value | None) -> Value:
    given: list[Value | None] = [*inputs, None, None, None]
    sizes = None
    if trace.opset < 11:
        scales = given[0]
    else:
        _, scales, sizes = given[:3]
    trace.only("antialias", 0)
    trace.only("keep_aspect_ratio_policy", "stretch")
    trace.attribute("extrapolation_value")
    method = trace.attribute("mode", "nearest")
    along = trace.attribute("axes") or range(image.rank)
    along = [trace.axis(axis, image.rank) for axis in along]
    axes = _sized(trace, image, along, scales, sizes)
    mode, rounding = "asymmetric", "simple"
    if trace.opset >= 11:
        mode = trace.attribute("coordinate_transformation_mode", _MODES[0])
        rounding = trace.attribute("nearest_mode", "round_prefer_floor")
    if mode not in _MODES:
        trace.refuse(f"with 'coordinate_transformation_mode' {mode}")
    return _resized(trace, image, axes, method, mode, rounding)


def _upsample(trace: Trace, image: Value, scales: Value | None = None) -> Value:
    if scales is None:
        scales = trace.constant(list(trace.attribute("scales")))
    method = trace.attribute("mode", "nearest")
    axes = _sized(trace, image, list(range(image.rank)), scales, None)
    return _resized(trace, image, axes, method, "asymmetric", "simple")


def _sized(
    trace: Trace,
    image: Value,
    along: Sequence[int],
    scales: Value | None,
    sizes: Value | None,
) -> list[_Axis]:
    axes = [_Axis(size, size, 1.0) for size in image.shape]
    by_scale = scales is not None and scales.tensor.numel() > 0
    numbers: list[Any] = []
    if scales is not None and by_scale:
        numbers = trace.numbers(scales, "factors")
    elif sizes is not None:
        numbers = trace.numbers(sizes, "sizes")
    for axis, number in zip(along, numbers, strict=True):
        old = image.shape[axis]
        factor, new = number, number
        if by_scale:
            new = int(np.float32(number) * np.float32(old))
        else:
            factor = float(np.float32(number) / np.float32(old))
        if new < 1:
            raise ValueError(f"an image of {old} pixels would become one of {new}")
        axes[axis] = _Axis(old, new, factor)
    return axes


def _resized(
    trace: Trace, image: Value, axes: list[_Axis], method: str, mode: str, rounding: str
) -> Value:
    if all(axis.same for axis in axes):
        for name in ("cubic_coeff_a", "exclude_outside"):
            trace.attribute(name)
        return image
    if method == "nearest":
        for name in ("cubic_coeff_a", "exclude_outside"):
            trace.attribute(name)
        return _nearest(trace, image, axes, mode, rounding)
    if method == "linear":
        trace.attribute("cubic_coeff_a")
        trace.only("exclude_outside", 0)
        return _linear(trace, image, axes, mode)
    if method != "cubic":
        trace.refuse(f"with 'mode' {method}")
    trace.only("cubic_coeff_a", -0.75)
    trace.only("exclude_outside", 0)
    if image.rank != 4 or not _plain(image, axes, mode):
        trace.refuse(f"with 'mode' cubic and {mode}")
    return _interpolated(trace, image, axes, "bicubic", mode == "align_corners")


def _plain(image: Value, axes: list[_Axis], mode: str) -> bool:
    """Whether PyTorch counts pixels in the same way."""
    if not axes[0].same or not axes[1].same or not image.tensor.is_floating_point():
        return False
    if mode == "half_pixel":
        return all(axis.exact for axis in axes)
    if mode == "pytorch_half_pixel":
        return all(axis.exact and axis.new > 1 for axis in axes[2:])
    return mode == "align_corners"


def _interpolated(
    trace: Trace, image: Value, axes: list[_Axis], mode: str, corners: bool | None
) -> Value:
    sizes = [axis.new for axis in axes[2:]]
    return trace("F.interpolate", image, sizes, mode=mode, align_corners=corners)


def _nearest(
    trace: Trace, image: Value, axes: list[_Axis], mode: str, rounding: str
) -> Value:
    picked = [_rounded(trace, axis, mode, rounding) for axis in axes]
    fits = (
        image.rank in _LINEAR
        and image.tensor.is_floating_point()
        and axes[0].same
        and axes[1].same
    )
    for name, shift in (("nearest", 0.0), ("nearest-exact", 0.5)):
        if fits and all(
            np.array_equal(places, _torch_picks(axis, shift))
            for axis, places in zip(axes[2:], picked[2:], strict=True)
        ):
            return _interpolated(trace, image, axes, name, None)
    for number, (axis, places) in enumerate(zip(axes, picked, strict=True)):
        if not axis.same:
            image = trace("index_select", image, number, trace.constant(places))
    return image


def _torch_picks(axis: _Axis, shift: float) -> NDArray[np.int64]:
    """Pixels that PyTorch would pick, with its rounding in float32."""
    scale = np.float32(axis.old) / np.float32(axis.new)
    at = (np.arange(axis.new, dtype=np.float32) + np.float32(shift)) * scale
    picked: NDArray[np.int64] = np.minimum(np.floor(at), axis.old - 1).astype(np.int64)
    return picked


def _rounded(trace: Trace, axis: _Axis, mode: str, rounding: str) -> NDArray[np.int64]:
    at = axis.places(mode)
    if rounding == "simple":
        rounding = "ceil" if axis.scale < 1 else "floor"
    if rounding == "floor":
        found = np.floor(at)
    elif rounding == "ceil":
        found = np.ceil(at)
    elif rounding == "round_prefer_floor":
        found = np.ceil(at - np.float32(0.5))
    elif rounding == "round_prefer_ceil":
        found = np.floor(at + np.float32(0.5))
    else:
        trace.refuse(f"with 'nearest_mode' {rounding}")
    picked: NDArray[np.int64] = np.clip(found, 0, axis.old - 1).astype(np.int64)
    return picked


def _linear(trace: Trace, image: Value, axes: list[_Axis], mode: str) -> Value:
    if image.rank in _LINEAR and _plain(image, axes, mode):
        return _interpolated(
            trace, image, axes, _LINEAR[image.rank], mode == "align_corners"
        )
    if not image.tensor.is_floating_point():
        trace.refuse("of whole numbers with 'mode' linear")
    for number, axis in enumerate(axes):
        if axis.same:
            continue
        at = np.clip(axis.places(mode), 0, axis.old - 1)
        low = np.floor(at)
        share = trace.constant(
            (at - low).reshape([-1] + [1] * (image.rank - number - 1))
        )
        share = trace("Tensor.to", share, image.tensor.dtype)
        low = low.astype(np.int64)
        high = np.minimum(low + 1, axis.old - 1)
        one, other = (
            trace("index_select", image, number, trace.constant(places))
            for places in (low, high)
        )
        image = trace("add", one, trace("mul", trace("sub", other, one), share))
    return image


RESIZERS: dict[str, Callable[..., Any]] = {"Resize": _resize, "Upsample": _upsample}
