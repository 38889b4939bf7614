"""`doctor --probe`: what a camera bears while it runs, as a piece of its rig file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from smartscope.app._guard import INTERRUPTED
from smartscope.app._paste import paste, sections_as_yaml
from smartscope.app._stop import orderly_stop
from smartscope.config import find_rig, load_rig
from smartscope.core import ConfigError, HardwareError, make_clock
from smartscope.rig import Rig, probe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartscope.config import RigConfig
    from smartscope.rig import ProbeReport, Verdict

__all__ = ["probe_rig"]

VERDICTS = {
    "live": "changes live",
    "sequenceable": "live, or by trigger",
    "restart": "needs a restart",
    "refused": "refused",
    None: "not tried",
}


def probe_rig(rig: str, *, turn_objective: bool, write: bool, as_json: bool) -> int:
    """Try a rig out in the dark and print what was found.

    Parameters
    ----------
    rig : str
        Rig file, or the name of a shipped one.
    turn_objective : bool
        Turn the objective too.
    write : bool
        Put the findings into the rig file, where it does not say otherwise.
    as_json : bool

    Returns
    -------
    int
        0, or the exit code for an interruption or a microscope that was not put back.

    Raises
    ------
    ConfigError, HardwareError, SafetyError
        If the rig file, a device or a limit stands in the way.
    """
    file = find_rig(rig)
    config = load_rig(file)
    _refuse(rig, file, config, write=write)
    opened = Rig.open(config, make_clock("real"), base_dir=file.parent)
    try:
        with orderly_stop(_say_interrupted) as stop:
            report = probe(opened, turn_objective=turn_objective, stopped=stop.is_set)
    finally:
        failures = opened.apply_safe_state()
        opened.close()
        if failures:
            raise HardwareError(f"the light may still be on: {'; '.join(failures)}")
    if as_json:
        facts = {**asdict(report), "rig_file": report.to_config()}
        typer.echo(json.dumps(facts, indent=2))
    else:
        for line in _lines(report, config, file):
            typer.echo(line)
    if write and report.is_complete:
        _write(file, report)
    for failure in report.not_restored:
        typer.echo(f"smartscope: after the probe: {failure}", err=True)
    if report.not_restored:
        return HardwareError.exit_code
    return 0 if report.is_complete else INTERRUPTED


def _refuse(rig: str, file: Path, config: RigConfig, *, write: bool) -> None:
    if config.recording is not None:
        raise ConfigError(
            "a recording has no camera to probe",
            file=rig,
            fix="give a microscope's rig",
        )
    if write and not Path(rig).expanduser().exists():
        raise ConfigError(
            "this rig file came with smartscope and stays as it is",
            file=file.name,
            fix="copy it with 'smartscope demos --copy DIR' and probe the copy",
        )


def _say_interrupted(_: str) -> None:
    typer.echo("Ending the probe and putting the microscope back.", err=True)


def _write(file: Path, report: ProbeReport) -> None:
    backup = paste(file, report.to_config())
    if backup is None:
        typer.echo(f"{file} says all of it already.", err=True)
    else:
        typer.echo(f"Written into {file}; as it was: {backup.name}", err=True)


def _lines(report: ProbeReport, config: RigConfig, file: Path) -> Iterator[str]:
    end = "" if report.is_complete else " The probe was interrupted."
    yield f"{config.name}, camera '{report.camera}'. The light stayed off.{end}"
    yield "\nWhat changes while the camera runs"
    for verdict in report.verdicts:
        words = VERDICTS[verdict.how]
        yield f"  {verdict.parameter:<11}{words:<21}{_remark(verdict, config)}".rstrip()
    yield "\nHow fast it is"
    yield from _speed(report)
    yield "\nWhat a frame tells"
    yield from _frames(report)
    sections = report.to_config()
    if report.is_complete and sections:
        yield f"\nPut this into {file}:\n\n{sections_as_yaml(sections)}"


def _remark(verdict: Verdict, config: RigConfig) -> str:
    parts = []
    if verdict.blocked_ms is not None:
        parts.append(f"takes {verdict.blocked_ms:.2g} ms")
    if verdict.after_frames is not None:
        late = verdict.after_frames
        parts.append("shows at once" if not late else f"shows {late} frames later")
    if verdict.note:
        parts.append(verdict.note)
    said = config.capabilities.get(verdict.parameter)
    if said is not None and said != verdict.how:
        parts.append(f"the rig file says '{said}', and that holds")
    return "; ".join(parts)


def _speed(report: ProbeReport) -> Iterator[str]:
    for rate in report.rates:
        yield (
            f"  exposure {rate.exposure_ms:g} ms: a frame every "
            f"{rate.interval_ms:.2f} ms, give or take {rate.jitter_ms:.2f} ms"
        )
    if report.first_frame_ms is not None:
        yield f"  first frame: {report.first_frame_ms:.1f} ms and its exposure"
    if report.stop_ms is not None:
        yield f"  stopping: {report.stop_ms:.1f} ms"
    if report.restart_ms is not None:
        yield (
            f"  stop, set a ROI, start: {report.restart_ms:.0f} ms and one exposure "
            "without a frame"
        )
    if report.readout_ms is not None:
        yield f"  readout and transfer: up to {report.readout_ms:g} ms"
    if report.lost:
        yield (
            f"  {report.lost} frames were lost while nothing changed: close other "
            "programs and probe again"
        )


def _frames(report: ProbeReport) -> Iterator[str]:
    yield (
        "  ImageNumber: there, so frames lost in the buffer are noticed"
        if report.has_image_number
        else "  ImageNumber: missing, so frames lost in the buffer go unnoticed"
    )
    found = ", ".join(report.counters)
    yield (
        f"  counted by the camera in: {found}"
        if found
        else "  the camera does not count its frames: its own losses are estimated"
    )
