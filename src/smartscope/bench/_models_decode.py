"""The decoder of a model as one call, to be timed apart from the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from smartscope.inference import Decoder, Model

    Outputs = Sequence[NDArray[np.float32]]
    Decode = Callable[[Outputs], Any]

_THRESHOLD = 0.5
_APART_PX = 3.0


def decoder_call(model: Model, shape: tuple[int, ...]) -> Decode | None:
    """Decoder of a model for images of ``(y, x)`` pixels.

    Returns
    -------
    callable or None
        Takes the outputs of `Model.run`; None where there is nothing to decode: a
        restored image is one already, and a bare network does not say.
    """
    makers: dict[str, Callable[[Decoder, tuple[int, ...]], Decode]] = {
        "mask": _mask,
        "stardist": _stardist,
        "flows": _flows,
        "spots": _spots,
        "emitters": _emitters,
        "events": _events,
        "classes": _classes,
    }
    maker = makers.get(model.decoder.kind or "")
    return None if maker is None else maker(model.decoder, shape)


def _threshold(decoder: Decoder) -> float:
    return _THRESHOLD if decoder.threshold is None else decoder.threshold


def _grid(image: NDArray[Any], shape: tuple[int, ...]) -> int:
    ratio: float = shape[-2] / image.shape[-2]
    return max(1, round(ratio))


def _mask(decoder: Decoder, shape: tuple[int, ...]) -> Decode:
    from smartscope.vision.decode import masks_to_labels

    def decode(outputs: Outputs) -> Any:
        image = outputs[decoder.output]
        more = {
            key: image[decoder.options[f"{key}_channel"]]
            for key in ("border", "distance")
            if f"{key}_channel" in decoder.options
        }
        return masks_to_labels(
            image[decoder.channel],
            threshold=_threshold(decoder),
            fill_holes=True,
            **more,
        )

    return decode


def _stardist(decoder: Decoder, shape: tuple[int, ...]) -> Decode:
    from smartscope.vision.decode import rays_to_labels

    rays = decoder.options.get("rays_output")

    def decode(outputs: Outputs) -> Any:
        image = outputs[decoder.output]
        return rays_to_labels(
            image[decoder.channel],
            _others(image, decoder.channel) if rays is None else outputs[rays],
            shape=(shape[-2], shape[-1]),
            grid=decoder.options.get("grid", _grid(image, shape)),
            threshold=_threshold(decoder),
            nms=decoder.options.get("nms", 0.4),
        )

    return decode


def _others(image: NDArray[np.float32], channel: int) -> NDArray[np.float32]:
    """All channels but the probability, which comes first as a rule."""
    import numpy as np

    return image[1:] if channel == 0 else np.delete(image, channel, axis=0)


def _flows(decoder: Decoder, shape: tuple[int, ...]) -> Decode:
    from smartscope.vision.decode import flows_to_labels

    threshold = 0.0 if decoder.threshold is None else decoder.threshold

    def decode(outputs: Outputs) -> Any:
        image = outputs[decoder.output]
        return flows_to_labels(
            image[:2],
            image[2],
            threshold=threshold,
            steps=decoder.options.get("steps", 200),
            flow_threshold=decoder.options.get("flow_threshold", 0.4),
            min_area_px=decoder.options.get("min_size", 0),
        )

    return decode


def _spots(decoder: Decoder, shape: tuple[int, ...]) -> Decode:
    from smartscope.vision.decode import heat_to_points

    offsets = decoder.options.get("offset_channels")

    def decode(outputs: Outputs) -> Any:
        image = outputs[decoder.output]
        return heat_to_points(
            image[decoder.channel],
            threshold=_threshold(decoder),
            min_distance_px=decoder.options.get("min_distance_px", _APART_PX),
            grid=decoder.options.get("grid", _grid(image, shape)),
            offsets=None if offsets is None else image[list(offsets)],
        )

    return decode


def _emitters(decoder: Decoder, shape: tuple[int, ...]) -> Decode:
    from smartscope.vision.decode import density_to_emitters, maps_to_emitters

    def decode(outputs: Outputs) -> Any:
        image, threshold = outputs[decoder.output], _threshold(decoder)
        if not decoder.options.get("density"):
            return maps_to_emitters(image, threshold=threshold)
        return density_to_emitters(
            image[decoder.channel],
            upsampling=decoder.options.get("upsampling", 1),
            threshold=threshold,
        )

    return decode


def _events(decoder: Decoder, shape: tuple[int, ...]) -> Decode:
    from smartscope.vision.decode import EventFinder

    finder = EventFinder(
        threshold=_threshold(decoder),
        release=decoder.options.get("release"),
        min_distance_px=decoder.options.get("min_distance_px", _APART_PX),
    )
    frames = iter(range(2**62))

    def decode(outputs: Outputs) -> Any:
        image = outputs[decoder.output]
        grid = decoder.options.get("grid", _grid(image, shape))
        return finder.update(image[decoder.channel], float(next(frames)), grid)

    return decode


def _classes(decoder: Decoder, shape: tuple[int, ...]) -> Decode:
    from smartscope.vision.decode import classes_of

    return lambda outputs: classes_of(outputs[decoder.output].ravel())
