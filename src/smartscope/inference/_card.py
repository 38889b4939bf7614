"""What a package says in ``config.smartscope``: the card of a model and its decoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smartscope.inference._document import Node

Kind = Literal[
    "restored",
    "mask",
    "stardist",
    "flows",
    "spots",
    "emitters",
    "events",
    "classes",
]
KINDS: tuple[str, ...] = get_args(Kind)

MOST_CHANNELS = 4096
"""No network has more channels; a package that says so lies."""
_LARGEST_GRID = 64
_PLACES = ("kind", "output", "channel", "threshold", "options")


@dataclass(frozen=True, slots=True)
class Decoder:
    """What the numbers that come out mean.

    Attributes
    ----------
    kind : str or None
        ``restored`` an image in camera counts; ``mask`` foreground probability, cut
        into objects; ``stardist`` probability and ray lengths; ``flows`` Cellpose's
        flows; ``spots`` a heat map with a peak at each spot; ``emitters`` maps of
        single molecules; ``events`` a score map of the newest frame; ``classes`` a
        vector of scores. None: the package does not say.
    output, channel : int
        Which output, and which channel of it (0-based).
    threshold : float or None
        Where probability or heat map is cut; None leaves it to the stage.
    options : mapping
        Further settings of this kind, such as ``grid`` and ``nms`` of ``stardist``.
    """

    kind: Kind | None = None
    output: int = 0
    channel: int = 0
    threshold: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def read(self, output: int) -> slice:
        """Channels of an output of which every value is read.

        Of the rays of a ``stardist`` those at objects are, and their reader checks
        them.
        """
        if self.kind != "stardist":
            return slice(None)
        if output == self.output:
            return slice(self.channel, self.channel + 1)
        return slice(0, 0) if output == self.options.get("rays_output") else slice(None)


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a model besides its tensors.

    Attributes
    ----------
    version : str
        Of the model; "" if it has none.
    pixel_um : float or None
        Pixel size of the images it was trained on, in the sample.
    object_px : float or None
        Typical diameter of an object in those images.
    window : int
        Frames it looks at, oldest to newest, stacked as channels; 1 for most.
    tolerance : float or None
        Largest relative RMS deviation from the reference output a runtime may have.
    domain : mapping
        Ranges of frame statistics in which it was tested, for the alarm.
    training : mapping
        Data, licence, metrics, seed, commit.
    decoder : Decoder
        What its outputs mean.
    licence : str
        SPDX identifier; "" if not stated.
    authors : tuple of str
    cite : tuple of str
        Text and DOI or address of each work.
    tags : tuple of str
    description : str
        One line.
    documentation : str
        The text of the documentation, Markdown; "" without.
    """

    version: str = ""
    pixel_um: float | None = None
    object_px: float | None = None
    window: int = 1
    tolerance: float | None = None
    domain: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    decoder: Decoder = field(default_factory=Decoder)
    licence: str = ""
    authors: tuple[str, ...] = ()
    cite: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    description: str = ""
    documentation: str = ""


def read_card(node: Node, documentation: str = "") -> Card:
    """Card of a description.

    Parameters
    ----------
    node : Node
        The whole description.
    documentation : str
        Text of the documentation, if it was read.

    Raises
    ------
    ModelError
        A field of ``config.smartscope`` is unknown or of the wrong kind.
    """
    own = node.get("config").get("smartscope")
    own.only(*_OWN)
    version = own.get("version") or node.get("version")
    return Card(
        version=str(version.value) if version else "",
        pixel_um=_optional(own.get("pixel_um"), _positive),
        object_px=_optional(own.get("object_px"), _positive),
        window=own.get("window").size() if own.get("window") else 1,
        tolerance=_optional(own.get("tolerance"), _positive),
        domain=own.get("domain").mapping(),
        training=own.get("training").mapping(),
        decoder=read_decoder(own.get("decoder")),
        licence=_line(node.get("license")),
        authors=tuple(_line(item.get("name")) for item in node.get("authors").items()),
        cite=tuple(_citation(item) for item in node.get("cite").items()),
        tags=tuple(_line(item) for item in node.get("tags").items()),
        description=_line(node.get("description")),
        documentation=documentation,
    )


_OWN = (
    *("version", "pixel_um", "object_px", "window", "tolerance"),
    *("domain", "training", "decoder", "weights"),
)


def read_decoder(node: Node) -> Decoder:
    """Decoder of a model, ``{kind: stardist, threshold: 0.5, grid: 2}``.

    Options stand beside the kind, or under ``options``.

    Raises
    ------
    ModelError
        Unknown kind or option, or a value it cannot have.
    """
    if not node:
        return Decoder()
    short = isinstance(node.value, str)
    kind = node if short else node.get("kind")
    if not isinstance(kind.value, str) or kind.value not in KINDS:
        raise kind.wrong(f"one of {', '.join(KINDS)}")
    if short:
        return Decoder(kind=kind.value)  # type: ignore[arg-type]
    threshold = node.get("threshold")
    return Decoder(
        kind=kind.value,  # type: ignore[arg-type]
        output=node.get("output").index(most=63) if node.get("output") else 0,
        channel=_channel(node.get("channel")) if node.get("channel") else 0,
        threshold=threshold.number() if threshold else None,
        options=_options(node, kind.value),
    )


def _options(node: Node, kind: str) -> dict[str, Any]:
    known = OPTIONS[kind]
    found = {}
    below = node.get("options")
    written = [(node, key) for key in node.mapping() if key not in _PLACES]
    for place, key in (*written, *((below, key) for key in below.mapping())):
        option = place.get(str(key))
        if key not in known:
            names = ", ".join(known) or "none"
            raise option.refuse(
                f"the decoder '{kind}' has no option '{key}'", f"it has: {names}"
            )
        found[str(key)] = known[key](option)
    return found


def _optional(node: Node, read: Callable[[Node], float]) -> float | None:
    return read(node) if node else None


def _line(node: Node) -> str:
    if not node:
        return ""
    if isinstance(node.value, dict | list):
        raise node.wrong("text")
    return str(node.value)


def _citation(node: Node) -> str:
    text = _line(node.get("text"))
    for key in ("doi", "url"):
        more = _line(node.get(key))
        if more and more not in text:
            text = f"{text}, {more}" if text else more
    return text


def _positive(node: Node) -> float:
    value = node.number()
    if value <= 0:
        raise node.wrong("a number above 0")
    return value


def _not_negative(node: Node) -> float:
    value = node.number()
    if value < 0:
        raise node.wrong("a number from 0")
    return value


def _share(node: Node) -> float:
    value = node.number()
    if not 0 <= value <= 1:
        raise node.wrong("a number from 0 to 1")
    return value


def _channel(node: Node) -> int:
    return node.index(most=MOST_CHANNELS)


def _grid(node: Node) -> int:
    value = node.size()
    if value > _LARGEST_GRID:
        raise node.wrong(f"a whole number from 1 to {_LARGEST_GRID}")
    return value


def _pair(node: Node) -> tuple[int, int]:
    values = [_channel(item) for item in node.items()]
    if len(values) != 2:
        raise node.wrong("two channels, [dy, dx]")
    return values[0], values[1]


def _names(node: Node) -> tuple[str, ...]:
    names = tuple(item.text() for item in node.items())
    if not names:
        raise node.wrong("a list of names")
    return names


OPTIONS: dict[str, dict[str, Callable[[Node], Any]]] = {
    "restored": {},
    "mask": {"border_channel": _channel, "distance_channel": _channel},
    "stardist": {"grid": _grid, "nms": _share, "rays_output": _channel},
    "flows": {
        "steps": lambda node: node.size(),
        "flow_threshold": _not_negative,
        "min_size": lambda node: node.index(),
    },
    "spots": {
        "min_distance_px": _not_negative,
        "grid": _grid,
        "offset_channels": _pair,
    },
    "emitters": {"density": lambda node: node.flag(), "upsampling": _grid},
    "events": {
        "kind": lambda node: node.text(),
        "release": _share,
        "min_distance_px": _not_negative,
        "grid": _grid,
    },
    "classes": {"names": _names},
}
