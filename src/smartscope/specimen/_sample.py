"""Parameters that every kind of specimen has: optics, channels, harm, drift, camera."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from smartscope.specimen._camera import Camera
from smartscope.specimen._optics import Optics
from smartscope.specimen._parameters import Parameters


class Debris(Parameters):
    """Specks and irregular clumps in the sample: bright, or dark without a label.

    They mean nothing and are not in the truth. They bleach as everything else.

    Attributes
    ----------
    per_mm2 : float
        How many; none by default.
    brightness : float
        In focus, over that of a typical object (`Sample.photons_per_ms`).
    brightness_spread : float
        Standard deviation of its natural logarithm.
    clumps : float
        Share that are irregular clumps, several times as wide; others are specks.
    size_um : float
        Radius of a speck.
    z_spread_um : float
        Standard deviation of their focus around that of the sample.
    drifting, speed_um_s : float
        Share that drifts, and how fast.
    area_um : (x, y)
        Extent around stage position (0, 0).
    """

    per_mm2: NonNegativeFloat = 0.0
    brightness: NonNegativeFloat = 1.5
    brightness_spread: NonNegativeFloat = 0.7
    clumps: float = Field(0.3, ge=0, le=1)
    size_um: PositiveFloat = 1.0
    z_spread_um: NonNegativeFloat = 5.0
    drifting: float = Field(0.2, ge=0, le=1)
    speed_um_s: NonNegativeFloat = 0.05
    area_um: tuple[PositiveFloat, PositiveFloat] = (1500.0, 1500.0)


class Sample(Optics):
    """Parameters of every kind of living sample; a kind adds its own.

    Light doses are in percent-seconds: power in percent of its range times lit
    seconds, the relative unit of the dose ledger. Photons are detected ones, that is
    electrons, per unbinned sensor pixel, at 100 % power, at any magnification.

    Attributes
    ----------
    photons_per_ms : float
        Inside a typical object in focus.
    background_photons_per_ms : float
        Everywhere in a fluorescence channel; does not bleach.
    brightfield_photons_per_ms : float
        Everywhere in a label-free channel, where nothing stands in the way.
    channels : mapping of channel preset to content
        What each preset shows, of the kind's `contents`; the first where not named.
    channel_brightness : mapping of channel preset to float
        Brightness of the objects in that channel; 1 where not named.
    bleach_half_dose : float
        Percent-seconds after which half of the fluorescence is gone.
    harm_dose : float
        Percent-seconds from which an object slows down; it stands still and dies at
        twice that.
    z_um : float
        Focus position of the sample.
    drift_um_s : (x, y, z)
        Steady drift of the sample against stage and focus.
    drift_noise_um : (x, y, z)
        Random drift: root mean square after one minute; grows with the root of time.
    camera : Camera
    debris : Debris
        Dirt that distracts.
    """

    contents: ClassVar[tuple[str, ...]] = ("fluorescence",)

    photons_per_ms: NonNegativeFloat = 20.0
    background_photons_per_ms: NonNegativeFloat = 1.0
    brightfield_photons_per_ms: NonNegativeFloat = 40.0
    channels: dict[str, str] = Field(default_factory=dict)
    channel_brightness: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    bleach_half_dose: PositiveFloat = 3000.0
    harm_dose: PositiveFloat = 20000.0
    z_um: float = 0.0
    drift_um_s: tuple[float, float, float] = (0.002, -0.001, 0.0003)
    drift_noise_um: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] = (
        0.0,
        0.0,
        0.0,
    )
    camera: Camera = Camera()
    debris: Debris = Debris()

    @model_validator(mode="after")
    def _contents_known(self) -> Sample:
        for preset, content in self.channels.items():
            if content not in self.contents:
                raise ValueError(
                    f"channel '{preset}' cannot show '{content}'; this kind shows "
                    f"{', '.join(self.contents)}"
                )
        return self

    def content(self, channel: str | None) -> str:
        """What a channel preset shows."""
        return self.channels.get(channel or "", self.contents[0])
