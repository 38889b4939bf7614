"""The rig file: which device is which, and what is never allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

# YAML reads a bare 488 as a number; a light line may be written either way.
LineName = Annotated[
    str, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v)
]
Span = tuple[float, float]
PropertyValue = tuple[str, str, str | float | int]
Affine = tuple[tuple[float, float], tuple[float, float]]


class Section(BaseModel):
    """Base of every section of our files: unknown keys are refused, values frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MicroManager(Section):
    """What to open.

    Attributes
    ----------
    config : path
        A Micro-Manager ``.cfg`` file, relative to the rig file.
    adapter_paths : list of path
        Further folders with device adapters; found automatically when empty.
    buffer_mb : int
        Circular buffer for streams.
    """

    config: Path
    adapter_paths: tuple[Path, ...] = ()
    buffer_mb: PositiveInt = 250


class Autofocus(Section):
    """A hardware focus lock: where its state shows and which device is its offset."""

    state: str
    offset: str | None = None


class Roles(Section):
    """Device labels by role; an unfilled role makes what depends on it refuse."""

    camera: str
    stage: str | None = None
    focus: str | None = None
    fine_focus: str | None = None
    autofocus: Autofocus | None = None
    objective: str | None = None
    shutter: str | None = None
    slm: str | None = None
    channel_group: str | None = "Channel"


class LightLine(Section):
    """One light line.

    Attributes
    ----------
    power : (device, property)
        Where its power is set.
    range : (low, high)
        Property values that mean 0 and 100 percent.
    calibration : objective preset -> [(property value, mW at the sample), ...]
        At least two points with rising values; without it dose is in relative units.
    field_um : objective preset -> (width, height)
        Lit area in the sample; never the camera ROI.
    gate : str
        What limits the lit time: ``camera_ttl``, ``shutter`` or ``always``.
    """

    power: tuple[str, str]
    range: Span = (0.0, 100.0)
    calibration: dict[str, tuple[Span, ...]] = {}
    field_um: dict[str, Span] = {}
    gate: Literal["camera_ttl", "shutter", "always"] = "always"

    @model_validator(mode="after")
    def _rising(self) -> LightLine:
        if not self.range[1] > self.range[0]:
            raise ValueError("range must rise: [value at 0 %, value at 100 %]")
        for objective, points in self.calibration.items():
            values = [p[0] for p in points]
            if len(points) < 2 or values != sorted(set(values)):
                raise ValueError(
                    f"calibration {objective} needs two or more points with rising "
                    "property values"
                )
        return self


class StageLimits(Section):
    """Travel box of the xy stage, um."""

    x: Span
    y: Span


class Limits(Section):
    """What is never allowed. An experiment may only tighten it.

    Attributes
    ----------
    stage_um : travel box, focus_um : (low, high) in um.
    power_percent, power_mw : light line -> highest value.
    exposure_ms : (low, high).
    max_lit_ms : float or None
        Longest time the light may stay on without a pause.
    actions_per_s : float
        Highest rate of hardware actions asked for by policies.
    """

    stage_um: StageLimits | None = None
    focus_um: Span | None = None
    power_percent: dict[LineName, float] = {}
    power_mw: dict[LineName, float] = {}
    exposure_ms: Span | None = None
    max_lit_ms: PositiveFloat | None = None
    actions_per_s: PositiveFloat = 100.0


class Calibration(Section):
    """Pixel geometry of one objective.

    Attributes
    ----------
    pixel_um : float
        Side of one *unbinned sensor* pixel in the sample.
    affine : 2 x 2
        um per sensor pixel ``[[a, b], [c, d]]``, see `smartscope.core.geometry`;
        None means it was never calibrated, and moving by image is refused.
    offset_um : (x, y, z)
        Added when this objective is turned in.
    """

    pixel_um: PositiveFloat
    affine: Affine | None = None
    offset_um: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Timing(Section):
    """How long things take, for the virtual clock and for the forecast of `check`."""

    snap_overhead_ms: float = Field(1.0, ge=0)
    readout_ms: float = Field(5.0, ge=0)
    stage_um_per_ms: PositiveFloat = 10.0
    stage_settle_ms: float = Field(10.0, ge=0)
    focus_settle_ms: float = Field(1.0, ge=0)
    property_ms: float = Field(0.1, ge=0)
    vision_ms: float = Field(20.0, ge=0)


class ClockConfig(Section):
    """Which clock drives the run; a real camera allows only ``real``."""

    kind: Literal["real", "scaled", "virtual"] = "real"
    speed: PositiveFloat = 1.0


class Specimen(BaseModel):
    """A living synthetic sample; its further keys belong to its `kind`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str = "dividing_cells"
    seed: int = 0

    @property
    def parameters(self) -> dict[str, Any]:
        """Keys beyond `kind` and `seed`."""
        return dict(self.model_extra or {})


class Recording(Section):
    """Recorded pixels in place of a microscope.

    Attributes
    ----------
    path : path
        A smartscope run folder, OME-Zarr, OME-TIFF or TIFF, relative to the rig file.
    interval_s : float or None
        Time between time points; None takes what the file says.
    pixel_um : float or None
        Pixel size; None takes what the file says.
    channel : int
        Which channel of a multi-channel recording is shown (0-based).
    channel_name : str
        The channel preset its frames claim to be taken in.
    axes : str or None
        Axes of a plain TIFF, for example ``tyx`` or ``tyxc``; None asks the file.
    mosaic : bool
        Each time point is a large image in which a field of `view_px` moves.
    view_px : (height, width)
        Size of that field.
    """

    path: Path
    interval_s: PositiveFloat | None = None
    pixel_um: PositiveFloat | None = None
    channel: int = Field(0, ge=0)
    channel_name: str = "recorded"
    axes: str | None = None
    mosaic: bool = False
    view_px: tuple[PositiveInt, PositiveInt] = (256, 256)


class RigConfig(Section):
    """One microscope, simulated or real, or one recording."""

    name: str
    micromanager: MicroManager | None = None
    recording: Recording | None = None
    roles: Roles | None = None
    light: dict[LineName, LightLine] = {}
    safe_state: tuple[PropertyValue, ...] = ()
    limits: Limits = Limits()
    calibration: dict[str, Calibration] = {}
    settle_ms: dict[str, float] = {}
    backlash_um: dict[str, float] = {}
    tolerance_um: dict[str, float] = {}
    capabilities: dict[str, Literal["live", "restart", "sequenceable"]] = {}
    specimen: Specimen | None = None
    clock: ClockConfig = ClockConfig()
    timing: Timing = Timing()

    @model_validator(mode="after")
    def _whole(self) -> RigConfig:
        if (self.micromanager is None) == (self.recording is None):
            raise ValueError(
                "a rig needs exactly one of 'micromanager' (a microscope) and "
                "'recording' (pixels from a file)"
            )
        if self.micromanager is not None and self.roles is None:
            raise ValueError("a microscope needs 'roles', at least 'camera'")
        if self.specimen is not None and self.micromanager is None:
            raise ValueError("'specimen' needs 'micromanager' devices to look through")
        simulated = self.specimen is not None or self.recording is not None
        if self.clock.kind != "real" and not simulated:
            raise ValueError(
                f"clock '{self.clock.kind}' needs a specimen or a recording; a camera "
                "lives in real time"
            )
        return self
