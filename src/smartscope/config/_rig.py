"""The rig file: which device is which, and what is never allowed."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003  (pydantic reads the annotations)
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from smartscope.config._base import Bounds, File, LineName, Section, Span
from smartscope.config._explain import near, refuse
from smartscope.config._paths import find_rig
from smartscope.config._yaml import Problem
from smartscope.core import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartscope.config._yaml import Document

PropertyValue = tuple[str, str, str | float | int]
Affine = tuple[tuple[float, float], tuple[float, float]]
SlmAffine = tuple[tuple[float, float, float], tuple[float, float, float]]
Capability = Literal["live", "restart", "sequenceable"]
Percent = Annotated[float, Field(ge=0, le=100)]
Level = Annotated[int, Field(ge=0, le=255)]


class MicroManager(Section):
    """What to open.

    Attributes
    ----------
    config : path or None
        A Micro-Manager ``.cfg`` file, relative to the rig file.
    factory : str or None
        In its place ``module:function`` that returns a ``CMMCorePlus`` with its devices
        loaded; the module may lie beside the rig file.
    adapter_paths : list of path
        Further folders with device adapters; found automatically when empty.
    buffer_mb : int
        Circular buffer for streams.
    """

    config: Path | None = None
    factory: str | None = None
    adapter_paths: tuple[Path, ...] = ()
    buffer_mb: PositiveInt = 250

    @model_validator(mode="after")
    def _one_of_two(self) -> MicroManager:
        if (self.config is None) == (self.factory is None):
            text = "a microscope comes from exactly one of 'config' and 'factory'"
            raise refuse((), text, "write 'config: my_scope.cfg'")
        if self.factory is None:
            return self
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", self.factory):
            text = f"'{self.factory}' is not 'module:function'"
            raise refuse(("factory",), text, "name a function that can be imported")
        if self.adapter_paths:
            text = "a factory finds its device adapters itself"
            raise refuse(("adapter_paths",), text, "remove the line")
        return self


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
    calibration: dict[str, tuple[Span, ...]] = Field(default_factory=dict)
    field_um: dict[str, Span] = Field(default_factory=dict)
    gate: Literal["camera_ttl", "shutter", "always"] = "always"

    @model_validator(mode="after")
    def _rising(self) -> LightLine:
        if not self.range[1] > self.range[0]:
            text = "the range does not rise"
            raise refuse(("range",), text, "write [value at 0 %, value at 100 %]")
        for objective, points in self.calibration.items():
            values = [p[0] for p in points]
            if len(points) < 2 or values != sorted(set(values)):
                text = "a calibration needs two or more points with rising values"
                fix = "write [[property value, mW at the sample], ...]"
                raise refuse(("calibration", objective), text, fix)
        for objective, (width, height) in self.field_um.items():
            if not (width > 0 and height > 0):
                text = "the lit area is not above 0"
                raise refuse(("field_um", objective), text, "write [width, height]")
        return self


class SlmConfig(Section):
    """What the device of ``roles.slm`` does to the light.

    Attributes
    ----------
    line : str
        The light line that goes over it.
    calibration : objective preset -> 2 x 3
        ``[[a, b, c], [d, e, f]]``: where a pixel ``(x, y)`` of the unbinned sensor lies
        on the SLM, ``x_slm = a*x + b*y + c``, ``y_slm = d*x + e*y + f``; the centre of
        the first pixel of either is (0, 0).
    off_level, on_level : int
        Pixel values that let through nothing, and all there is.
    dwell_ms : float or None
        The SLM itself goes dark this long after it showed a pattern; None keeps it up.
    """

    line: LineName
    calibration: dict[str, SlmAffine] = Field(default_factory=dict)
    off_level: Level = 0
    on_level: Level = 255
    dwell_ms: PositiveFloat | None = None

    @model_validator(mode="after")
    def _sound(self) -> SlmConfig:
        if self.off_level == self.on_level:
            text = "off and on are the same level"
            raise refuse(("on_level",), text, "write what a lit pixel is set to")
        for objective, ((a, b, _), (d, e, _)) in self.calibration.items():
            if abs(a * e - b * d) < 1e-9:
                text = "the affine maps the image onto a line"
                fix = "run 'smartscope calibrate --slm'"
                raise refuse(("calibration", objective), text, fix)
        return self


class StageLimits(Section):
    """Travel box of the xy stage, um."""

    x: Bounds
    y: Bounds


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
    focus_um: Bounds | None = None
    power_percent: dict[LineName, Percent] = Field(default_factory=dict)
    power_mw: dict[LineName, NonNegativeFloat] = Field(default_factory=dict)
    exposure_ms: Bounds | None = None
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

    @model_validator(mode="after")
    def _invertible(self) -> Calibration:
        if self.affine is not None:
            (a, b), (c, d) = self.affine
            if abs(a * d - b * c) < 1e-12:
                text = "the affine maps the image onto a line"
                raise refuse(("affine",), text, "run 'smartscope calibrate'")
        return self


class Timing(Section):
    """How long things take, for the virtual clock and for the forecast of `check`."""

    snap_overhead_ms: float = Field(1.0, ge=0)
    readout_ms: float = Field(5.0, ge=0)
    stage_um_per_ms: PositiveFloat = 10.0
    stage_settle_ms: float = Field(10.0, ge=0)
    focus_settle_ms: float = Field(1.0, ge=0)
    property_ms: float = Field(0.1, ge=0)
    vision_ms: float = Field(20.0, ge=0)


class CameraConfig(Section):
    """What the camera does that no device property says.

    Attributes
    ----------
    frame_counter : str or None
        Metadata tag in which the camera's own adapter counts its frames; None where
        it does not, so that frames lost inside the camera can only be estimated.
    readout_ms : float or None
        From the end of an exposure to the arrival of its frame; None takes
        `Timing.readout_ms`.
    spin_ms : float
        How long to look for a frame without sleeping when it is due; 0 always sleeps.
    pool_mb : float
        Most memory for frame buffers that are made ready before a stream starts.
    effect_after_frames : parameter -> int
        Frames that begin after a command settled and still show the old value; 0 for
        what is not named. Parameters are those of ``capabilities``.
    """

    frame_counter: str | None = None
    readout_ms: NonNegativeFloat | None = None
    spin_ms: NonNegativeFloat = 0.3
    pool_mb: PositiveFloat = 256.0
    effect_after_frames: dict[str, NonNegativeInt] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _named(self) -> CameraConfig:
        if self.frame_counter is not None and not self.frame_counter.strip():
            text = "a metadata tag needs a name"
            raise refuse(("frame_counter",), text, "name it, or remove the line")
        return self


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


class RigConfig(File):
    """One microscope, simulated or real, or one recording.

    Attributes
    ----------
    objective_escape_um : float or None
        Absolute focus height at which the objective turret may turn; None turns it
        where the focus is.
    source_file : path or None
        Where it was read from; other paths are relative to its folder.
    """

    name: str
    micromanager: MicroManager | None = None
    recording: Recording | None = None
    roles: Roles | None = None
    light: dict[LineName, LightLine] = Field(default_factory=dict)
    slm: SlmConfig | None = None
    safe_state: tuple[PropertyValue, ...] = ()
    limits: Limits = Limits()
    calibration: dict[str, Calibration] = Field(default_factory=dict)
    settle_ms: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    backlash_um: dict[str, float] = Field(default_factory=dict)
    tolerance_um: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    capabilities: dict[str, Capability] = Field(default_factory=dict)
    camera: CameraConfig = CameraConfig()
    specimen: Specimen | None = None
    clock: ClockConfig = ClockConfig()
    timing: Timing = Timing()
    objective_escape_um: float | None = None

    @property
    def readout_ms(self) -> float:
        """From the end of an exposure to the arrival of its frame, ms."""
        measured = self.camera.readout_ms
        return self.timing.readout_ms if measured is None else measured

    @classmethod
    def _find(cls, path: str | Path) -> Path:
        found = find_rig(path)
        if found.suffix.lower() == ".cfg":
            raise ConfigError(
                "this is a Micro-Manager configuration",
                file=str(path),
                fix="give a rig file with 'micromanager: {config: ...}' naming it",
            )
        return found

    @classmethod
    def _prepare(
        cls, data: dict[str, Any], document: Document, problems: list[Problem]
    ) -> dict[str, Any]:
        if document.path is not None and "acquisition" in data:
            raise ConfigError(
                "this is an experiment file",
                file=document.file,
                fix="give the rig file that it names",
            )
        return data

    def _between_sections(self) -> Iterator[Problem]:
        if (self.micromanager is None) == (self.recording is None):
            text = "a rig needs exactly one of 'micromanager' and 'recording'"
            yield Problem((), text, "name a microscope, or a file with its pixels")
        elif self.micromanager is not None and self.roles is None:
            text = "a microscope needs 'roles'"
            yield Problem(("micromanager",), text, "add 'roles: {camera: Camera}'")
        if self.specimen is not None and self.micromanager is None:
            text = "a specimen needs devices to look through"
            yield Problem(("specimen",), text, "add 'micromanager'")
        simulated = self.specimen is not None or self.recording is not None
        if self.clock.kind != "real" and not simulated:
            text = f"a {self.clock.kind} clock needs a specimen or a recording"
            fix = "write 'kind: real', the time a camera lives in"
            yield Problem(("clock", "kind"), text, fix)
        yield from self._slm_problems()
        for unit in ("power_percent", "power_mw"):
            for line in getattr(self.limits, unit).keys() - self.light.keys():
                # A limit of a misspelt line would never hold anything back.
                guess = near(line, self.light)
                fix = f"did you mean '{guess}'?" if guess else "add it to 'light'"
                text = f"the rig has no light line '{line}'"
                yield Problem(("limits", unit, line), text, fix)

    def _slm_problems(self) -> Iterator[Problem]:
        if self.slm is None:
            return
        if self.roles is None or self.roles.slm is None:
            text = "no device fills the role it describes"
            yield Problem(("slm",), text, "add 'slm: LABEL' to 'roles'")
        if (line := self.slm.line) not in self.light:
            guess = near(line, self.light)
            fix = f"did you mean '{guess}'?" if guess else "add it to 'light'"
            yield Problem(("slm", "line"), f"the rig has no light line '{line}'", fix)
