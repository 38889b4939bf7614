"""Errors end in one sentence and the documented exit code, never in a traceback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from smartscope import core
from smartscope.app._guard import EXIT_CODES, guarded
from smartscope.app.cli import app
from smartscope.core import ConfigError, HardwareError, SafetyError, SmartscopeError

DOCS = Path(__file__).parents[2] / "docs"
ERRORS = [
    thing
    for thing in vars(core).values()
    if isinstance(thing, type) and issubclass(thing, SmartscopeError)
]


def smartscope(*arguments: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "smartscope", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        **kwargs,
    )


def end_of(error: BaseException) -> int:
    @guarded
    def body() -> None:
        raise error

    with pytest.raises(typer.Exit) as exit_info:
        body()
    return exit_info.value.exit_code


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_documented_code(
    kind: type[SmartscopeError], capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of(kind("the stage is away")) == kind.exit_code
    assert kind.exit_code in EXIT_CODES
    said = capsys.readouterr()
    assert said.err == "smartscope: the stage is away\n"
    assert said.out == ""


def test_codes_are_distinct_and_in_the_documentation() -> None:
    codes = [kind.exit_code for kind in ERRORS]
    assert len(set(codes)) == len(codes)
    text = (DOCS / "exit-codes.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| ([^|]+) \|", text, re.MULTILINE))
    assert {int(k): v.strip() for k, v in rows.items()} == EXIT_CODES


def test_bug_says_so_and_saves_its_traceback(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert end_of(ZeroDivisionError("oh")) == 70
    said = capsys.readouterr().err
    assert said.startswith("smartscope: this is a bug (ZeroDivisionError: oh).")
    (saved,) = tmp_path.glob("smartscope-bug-*.txt")
    assert str(saved) in said
    assert "raise error" in saved.read_text(encoding="utf-8")


def test_bug_of_a_run_is_saved_in_its_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    error = ZeroDivisionError("oh")
    error.run_path = tmp_path  # type: ignore[attr-defined]
    assert end_of(error) == 70
    assert list(tmp_path.glob("smartscope-bug-*.txt"))


def test_debug_shows_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMARTSCOPE_DEBUG", "1")
    assert end_of(SafetyError("too bright")) == 4
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.endswith("smartscope: too bright\n")


def test_interrupt_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert end_of(KeyboardInterrupt()) == 130
    assert "bug" not in capsys.readouterr().err


def test_guard_keeps_what_a_command_returns_and_takes() -> None:
    seen = []

    @guarded
    def body(a: int, *, b: int = 2) -> None:
        """Body."""
        seen.append((a, b))

    body(1, b=3)
    assert seen == [(1, 3)]
    assert body.__doc__ == "Body."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "quikstart"), "there is no experiment 'quikstart'"),
        (("run", "nowhere/exp.yaml"), "nowhere/exp.yaml: no such file"),
        (("check", "nowhere/exp.yaml"), "nowhere/exp.yaml: no such file"),
        (("report", "nowhere"), "nowhere does not exist"),
        (("replay", "nowhere"), "nowhere: no such file or folder"),
        (("policies", "show", "rate_swich"), "did you mean 'rate_switch'"),
        (("calibrate", "nowhere.yaml"), "nowhere.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_not_there_is_one_sentence_and_2(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = smartscope(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr.replace("\\", "/")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_wrong_option_is_2() -> None:
    done = CliRunner().invoke(app, ["run", "quickstart", "--colck", "real"])
    assert done.exit_code == 2


def test_check_tells_a_script_in_json(tmp_path: Path) -> None:
    import json

    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("name: x\nrig: y.yaml\nacquisition: {}\nchanels: 3\n")
    done = CliRunner().invoke(app, ["check", str(wrong), "--json"])
    assert done.exit_code == 2
    answer = json.loads(done.stdout)
    assert answer["ok"] is False
    assert len(answer["problems"]) == 1


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from smartscope.app.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'scipy', 'pydantic', 'pymmcore', 'pymmcore_plus',"
        " 'tensorstore', 'pyarrow', 'useq', 'smartscope.core'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("[]")
    assert "quickstart" in done.stdout


def test_help_names_every_exit_code() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout
    words = " ".join(re.sub(r"[^\w ,.-]", " ", shown).split())
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in words


def test_running_leaves_the_root_logger_alone() -> None:
    code = (
        "import logging, sys\n"
        "from smartscope.app.cli import app\n"
        "try:\n    app(['run', 'nowhere'])\nexcept SystemExit:\n    pass\n"
        "assert 'pymmcore_plus' in sys.modules\n"
        "root = logging.getLogger()\n"
        "theirs = logging.getLogger('pymmcore-plus').handlers\n"
        "files = [h for h in theirs if isinstance(h, logging.FileHandler)]\n"
        "print(root.level == logging.WARNING, root.handlers, files)\n"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=env,
    )
    assert done.stdout.strip() == "True [] []"


def test_output_in_a_narrow_code_page_does_not_fail() -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = smartscope("doctor", env=env)
    assert "UnicodeEncodeError" not in done.stderr
    assert "Traceback" not in done.stderr


def test_version() -> None:
    from smartscope import __version__

    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"smartscope {__version__}\n")


def test_config_error_has_its_place() -> None:
    error = ConfigError("unknown key 'x'", file="a.yaml", line=3, fix="remove it")
    assert str(error) == "a.yaml, line 3: unknown key 'x'; remove it"
    assert HardwareError("gone", device="XY").exit_code == 3
