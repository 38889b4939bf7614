"""The commands a newcomer types, on the real devices of the demo, from end to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from smartscope.app.cli import app
from smartscope.config import shipped
from smartscope.record import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

EXPERIMENT = """
name: short film
rig: {rig}
acquisition:
  channels: [{{config: FITC, exposure: 20}}]
  time_plan: {{interval: 20, loops: {loops}}}
light: {{FITC: {{488: {{power_percent: 10}}}}}}
vision: [segment, measure, track, mitosis]
policies: [{{use: rate_switch, fast_interval_s: 5}}]
"""


def experiment(folder: Path, loops: int = 6) -> Path:
    rig = json.dumps(str(shipped("demo_configs") / "specimen_rig.yaml"))
    file = folder / "short.yaml"
    file.write_text(EXPERIMENT.format(rig=rig, loops=loops), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What ``run --json`` says of a short run."""
    folder = tmp_path_factory.mktemp("run")
    file = experiment(folder)
    output = str(folder / "out")
    arguments = ["run", str(file), "-o", output, "--clock", "virtual", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_run_says_what_it_did(ran: dict[str, object]) -> None:
    folder = RunFolder(str(ran["run"]))
    assert ran["outcome"] == "completed"
    assert ran["exit_code"] == 0
    assert ran["frames"] == len(folder.frames)
    assert folder.end is not None
    assert str(ran["report"]).endswith("report.html")
    assert (folder.path / "report.html").is_file()


def test_run_can_be_checked_replayed_and_reported(ran: dict[str, object]) -> None:
    run = str(ran["run"])
    checked = CliRunner().invoke(app, ["check", run, "--json"])
    assert (checked.exit_code, json.loads(checked.stdout)["ok"]) == (0, True)
    replayed = CliRunner().invoke(app, ["replay", run, "--json"])
    assert replayed.exit_code == 0, replayed.output
    answer = json.loads(replayed.stdout)
    assert answer["outcome"] == "identical"
    assert answer["decisions"] > 0
    (RunFolder(run).path / "report.html").unlink()
    reported = CliRunner().invoke(app, ["report", run])
    assert reported.exit_code == 0
    assert reported.stdout.strip().endswith("report.html")


def test_check_forecasts_and_writes_nothing(tmp_path: Path) -> None:
    file = experiment(tmp_path)
    done = CliRunner().invoke(app, ["check", str(file)])
    assert done.exit_code == 0, done.output
    assert "6 frames" in done.stdout
    assert done.stdout.rstrip().endswith("In order.")
    assert list(tmp_path.iterdir()) == [file]


def test_lines_into_a_pipe_and_words_at_the_end(tmp_path: Path) -> None:
    arguments = ["run", str(experiment(tmp_path, 3)), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*arguments, "--clock", "virtual"])
    assert done.exit_code == 0, done.output
    *_, end, run, report = done.stdout.splitlines()
    assert end.startswith("Completed")
    assert run.split()[0] == "run"
    assert report.split()[0] == "report"
    assert "▀" not in done.stdout


def test_quiet_says_nothing(tmp_path: Path) -> None:
    arguments = ["run", str(experiment(tmp_path, 2)), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*arguments, "--clock", "virtual", "--quiet"])
    assert (done.exit_code, done.output) == (0, "")


def test_clock_a_rig_cannot_have_is_refused(tmp_path: Path) -> None:
    text = experiment(tmp_path).read_text(encoding="utf-8")
    file = tmp_path / "camera.yaml"
    file.write_text(text.replace("specimen_rig", "demo_laser_rig"), encoding="utf-8")
    done = CliRunner().invoke(app, ["run", str(file), "--clock", "virtual"])
    assert done.exit_code == 2
    assert "a virtual clock needs a specimen or a recording" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="no way to send Ctrl-C to one process")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_run_in_order(tmp_path: Path, name: str) -> None:
    file = experiment(tmp_path, 5000)
    output = tmp_path / "out"
    command = [sys.executable, "-m", "smartscope", "run", str(file), "-o", str(output)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        _wait_for_frames(output, 3)
        process.send_signal(getattr(signal, name))
        said, wrong = process.communicate(timeout=60)
    assert process.returncode == 130, wrong
    assert "Ending the run in an orderly way, light off" in said
    assert "Traceback" not in wrong
    (run,) = output.iterdir()
    folder = RunFolder(run)
    assert folder.end is not None
    assert folder.end["outcome"] == "stopped"
    assert folder.verify() == ()
    assert (run / "report.html").is_file()


def _wait_for_frames(output: Path, count: int) -> None:
    for _ in range(600):
        journals = list(output.glob("*/journal.jsonl"))
        if journals and journals[0].read_text().count('"kind":"frame"') >= count:
            return
        time.sleep(0.1)
    raise AssertionError("the run took no frames")


def test_calibrate_finds_the_affine_of_the_demo() -> None:
    done = CliRunner().invoke(app, ["calibrate", "specimen_rig", "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    (a, b), (c, d) = answer["affine"]
    assert (a, d) == (pytest.approx(1.0, abs=0.01), pytest.approx(1.0, abs=0.01))
    assert (b, c) == (pytest.approx(0.0, abs=0.01), pytest.approx(0.0, abs=0.01))


@pytest.mark.parametrize(
    ("light", "said"),
    [("488", "is no light line with a power"), ("561=5", "no light line '561'")],
)
def test_calibrate_explains_a_wrong_light(light: str, said: str) -> None:
    done = CliRunner().invoke(app, ["calibrate", "specimen_rig", "--light", light])
    assert done.exit_code == 2
    assert said in done.stderr


BAD_POLICY = '''
from smartscope.core import Stop
from smartscope.policies import Policy


class Bad(Policy):
    """Raises on the second frame."""

    def react(self, seen):
        if seen.number:
            raise ZeroDivisionError("oh")
        return ()
'''


@pytest.mark.parametrize("quiet", [True, False])
def test_a_failed_run_says_so_on_stderr(tmp_path: Path, quiet: bool) -> None:
    (tmp_path / "bad.py").write_text(BAD_POLICY, encoding="utf-8")
    text = experiment(tmp_path).read_text(encoding="utf-8")
    file = tmp_path / "bad.yaml"
    file.write_text(
        text.replace("{use: rate_switch, fast_interval_s: 5}", "{use: bad.py}"),
        encoding="utf-8",
    )
    output = tmp_path / "out"
    arguments = ["run", str(file), "-o", str(output), "--clock", "virtual"]
    done = CliRunner().invoke(app, [*arguments, *(["--quiet"] if quiet else [])])
    assert done.exit_code == 8
    assert done.stderr.startswith("Failed: ")
    assert "oh" in done.stderr
    assert "Traceback" not in done.output
    assert (done.stdout == "") is quiet
    (run,) = output.iterdir()
    assert "Failed" in (run / "report.html").read_text(encoding="utf-8")
