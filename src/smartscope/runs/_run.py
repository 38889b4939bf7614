"""`smartscope.run`: one run from files to result."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from smartscope.control import Monitor
from smartscope.core import ConfigError, make_clock
from smartscope.rig import Rig
from smartscope.runs._acquisition import steadily
from smartscope.runs._files import open_files
from smartscope.runs._live import LiveRun, Options
from smartscope.runs._recorded import RecordedRun

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymmcore_plus import CMMCorePlus

    from smartscope.config import Experiment, RigConfig
    from smartscope.control import Subscription
    from smartscope.runs._files import Files
    from smartscope.runs._result import RunResult


def run(
    experiment: Experiment | str | Path,
    *,
    rig: RigConfig | str | Path | None = None,
    core: CMMCorePlus | None = None,
    output: str | Path | None = None,
    shadow: bool = False,
    reload: bool = True,
    clock: str | None = None,
    monitor: Monitor | None = None,
    stop: threading.Event | None = None,
    subscriptions: Iterable[Subscription] = (),
) -> RunResult:
    """Run an experiment to its end and return what came of it.

    Parameters
    ----------
    experiment : Experiment or path or str
        An experiment, its file, or the name of a shipped one such as ``quickstart``.
    rig : RigConfig or path, optional
        Instead of the rig the experiment names.
    core : CMMCorePlus, optional
        A core that has its configuration loaded already; used as it is and never
        unloaded. Not for recordings.
    output : path, optional
        Parent of the run folder, made if absent; default is the experiment's
        ``record.path``, relative to the present folder.
    shadow : bool
        Decide and journal everything, act on nothing.
    reload : bool
        Take over what is edited of the policies' parameters and files while it runs,
        unless the experiment forbids it.
    clock : str, optional
        ``real``, ``scaled`` or ``virtual`` instead of the rig's.
    monitor : Monitor, optional
        To look at while it runs.
    stop : threading.Event, optional
        Set it to end the run in order.
    subscriptions : iterable of Subscription
        Further readers of every frame, each with its own appetite; read them on
        threads of your own. Not for recordings.

    Returns
    -------
    RunResult
        Also of a run that failed: look at `outcome` and `message`.

    Raises
    ------
    ConfigError
        If the run cannot start as asked; nothing was acquired then.
    HardwareError
        If the rig cannot be opened.
    """
    files = open_files(experiment, rig=rig, clock=clock)
    if output is not None and (Path(output) / "journal.jsonl").exists():
        raise ConfigError(
            f"{output} is a run folder, and runs are never written into",
            field="--output",
            fix="name the folder that run folders shall be made in",
        )
    options = Options(
        parent=Path(output) if output is not None else files.experiment.record.path,
        monitor=monitor or Monitor(),
        stop=stop or threading.Event(),
        shadow=shadow,
        reload=reload,
        core=core,
        subscriptions=tuple(subscriptions),
    )
    if files.rig.recording is None:
        return _run_live(files, options)
    if core is not None:
        raise ConfigError(
            "a recording needs no core", field="core", fix="leave it out, or name a rig"
        )
    recorded = RecordedRun(files, options)
    try:
        return recorded.run()
    finally:
        recorded.close()


def _run_live(files: Files, options: Options) -> RunResult:
    rig = Rig.open(
        files.rig,
        make_clock(files.rig.clock.kind, files.rig.clock.speed),
        base_dir=files.rig_dir,
        core=options.core,
    )
    try:
        with rig.exclusive(files.experiment.name):
            return LiveRun(files, rig, options).run()
    finally:
        steadily(rig.close)
