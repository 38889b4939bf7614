"""`calibrate`: measure the affine of a rig and print it as a piece of its file."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from smartscope.config import find_rig, load_rig
from smartscope.core import ConfigError, HardwareError, make_clock
from smartscope.rig import Rig, calibrate, calibrate_slm
from smartscope.sources import CameraSource, SpecimenSource
from smartscope.specimen import make_specimen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from smartscope.config import RigConfig
    from smartscope.rig import CalibrationResult, SlmCalibration
    from smartscope.sources import Source

__all__ = ["calibrate_rig"]

SIMULATED_PERCENT = 20.0


def calibrate_rig(
    rig: str,
    *,
    channel: str | None,
    exposure_ms: float,
    light: Sequence[str],
    step_um: float | None,
    slm: bool,
    as_json: bool,
) -> int:
    """Measure, and print what belongs into the rig file.

    What the camera's pixels mean, by moving around a square; or where the SLM's pixels
    fall, by showing spots on it.

    Parameters
    ----------
    rig : str
        Rig file, or the name of a shipped one.
    channel : str or None
        Preset to look in; None leaves it as it is.
    exposure_ms : float
    light : sequence of str
        ``LINE=PERCENT``. On a real microscope nothing else is switched on.
    step_um : float or None
        Length of one move; None is an eighth of the field.
    slm : bool
        Measure the SLM instead.

    Raises
    ------
    ConfigError, HardwareError, SafetyError
        If the rig file, a device or a limit stands in the way.
    """
    file = find_rig(rig)
    config = load_rig(file)
    if config.recording is not None:
        raise ConfigError(
            "a recording has no stage to move", file=rig, fix="give a microscope's rig"
        )
    if slm:
        _check_slm(config, rig)
    powers = _powers(config, light)
    with _opened(config, file.parent) as opened:
        grab = _prepare(opened, powers, channel, exposure_ms)
        if slm:
            _print_slm(calibrate_slm(opened, grab), config, rig, as_json=as_json)
        else:
            _print(calibrate(opened, grab, step_um), rig, as_json=as_json)
    return 0


def _check_slm(config: RigConfig, rig: str) -> None:
    if config.slm is None:
        raise ConfigError(
            "it describes no SLM",
            file=rig,
            field="slm",
            fix="add 'slm: LABEL' to 'roles', and 'slm: {line: LINE}' with the light "
            "line that goes over it",
        )


def _powers(config: RigConfig, light: Sequence[str]) -> dict[str, float]:
    if not light and config.specimen is not None:
        return dict.fromkeys(config.light, SIMULATED_PERCENT)
    powers = {}
    for item in light:
        line, _, percent = item.partition("=")
        try:
            powers[line] = float(percent)
        except ValueError:
            raise ConfigError(
                f"'{item}' is no light line with a power",
                field="--light",
                fix="write for example --light 488=5",
            ) from None
        if line not in config.light:
            known = ", ".join(config.light) or "none"
            raise ConfigError(
                f"the rig has no light line '{line}'",
                field="--light",
                fix=f"its lines: {known}",
            )
    return powers


@contextmanager
def _opened(config: RigConfig, folder: Path) -> Iterator[Rig]:
    # On its own fast clock a simulated sample would crawl on between two pictures.
    clock = make_clock("real" if config.specimen is None else "virtual")
    rig = Rig.open(config, clock, base_dir=folder)
    try:
        yield rig
    finally:
        failures = rig.apply_safe_state()
        rig.close()
        if failures:
            raise HardwareError(f"the light may still be on: {'; '.join(failures)}")


def _prepare(
    rig: Rig, powers: dict[str, float], channel: str | None, exposure_ms: float
) -> Callable[[], NDArray[np.generic]]:
    """Set up light and camera; return what takes one picture, shutter open."""
    act = rig.actuator
    commands = [act.set_power(line, percent) for line, percent in powers.items()]
    commands.append(act.set_exposure(exposure_ms))
    if channel is not None:
        commands.append(act.set_channel(channel))
    act.settle(*commands)
    source = _source(rig)
    has_shutter = rig.can("shutter")

    def set_shutter(is_open: bool) -> None:
        if has_shutter:
            act.settle(act.set_shutter(is_open))

    def grab() -> NDArray[np.generic]:
        set_shutter(True)
        try:
            return source.snap(exposure_ms, lambda: set_shutter(False)).pixels
        finally:
            set_shutter(False)

    return grab


def _source(rig: Rig) -> Source:
    config = rig.config.specimen
    if config is None:
        return CameraSource(rig)
    specimen = make_specimen(
        config.kind, seed=config.seed, parameters=config.parameters
    )
    specimen.start(rig.clock.now_ns())
    return SpecimenSource(rig, specimen)


def _print(result: CalibrationResult, rig: str, *, as_json: bool) -> None:
    found = result.to_config()
    (a, b), (c, d) = found.affine or ((0.0, 0.0), (0.0, 0.0))
    name = result.objective or "objective"
    if as_json:
        facts: dict[str, Any] = {
            "objective": result.objective,
            "pixel_um": found.pixel_um,
            "affine": [[a, b], [c, d]],
            "residual_px": result.residual_px,
            "confidence": result.confidence,
        }
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(
        f"{result.moves} moves of {result.step_um:.3g} um, "
        f"{result.residual_px:.2f} pixels off on average, "
        f"confidence {result.confidence:.2f}. Put this into {rig}:\n\n"
        f"calibration:\n  {name}:\n    pixel_um: {found.pixel_um}\n"
        f"    affine: [[{a}, {b}], [{c}, {d}]]"
    )


def _print_slm(
    result: SlmCalibration, config: RigConfig, rig: str, *, as_json: bool
) -> None:
    first, second = (list(row) for row in result.rounded())
    if as_json:
        facts: dict[str, Any] = {
            "objective": result.objective,
            "affine": [first, second],
            "residual_px": result.residual_px,
            "spots": result.spots,
            "shown": result.shown,
        }
        typer.echo(json.dumps(facts, indent=2))
        return
    line = config.slm.line if config.slm is not None else ""
    typer.echo(
        f"{result.spots} of {result.shown} spots, {result.residual_px:.2f} sensor "
        f"pixels off on average. Put this into {rig}:\n\n"
        f'slm:\n  line: "{line}"\n  calibration:\n'
        f"    {result.objective or 'objective'}: [{first}, {second}]"
    )
