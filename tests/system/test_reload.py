"""What is edited while a run goes on: taken over, refused, undone, decided again."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
from small_runs import DEMO, specimen_rig

from smartscope import replay, run
from smartscope.config import dump_yaml, load_experiment
from smartscope.control import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POLICY = """
from pydantic import PrivateAttr
from smartscope.core import *
from smartscope.policies import Policy


class Counting(Policy):
    step: int = 1

    _count: int = PrivateAttr(default=0)
{more}
    def react(self, seen):
        self._count += self.step
        yield Mark(reason=f"{word} {{self._count}}")
"""
MIGRATE = """
    def migrate(self, old):
        self._count = old._count
"""
EXPERIMENT = f"""
name: edited
rig: {DEMO.as_posix()}/specimen_rig.yaml
acquisition:
  channels: [{{config: FITC, exposure: 20}}]
  time_plan: {{interval: 2, loops: LOOPS}}
light: {{FITC: {{488: {{power_percent: 10}}}}}}
policies:
  - use: counting.py
    step: 1
"""
MOST = 400
"""Planned frames; a run ends itself long before, when what it waits for has come."""


class Editor(Monitor):
    """Edits files at a sight, and lets the run go on until that is heard of.

    Each edit is a function; it is made once what the one before led to was told.
    """

    def __init__(self, *edits: Callable[[], object], after: int = 3) -> None:
        super().__init__()
        self.stop = threading.Event()
        self._edits = list(edits)
        self._after = after
        self._heard = 0
        self._since: int | None = None

    def observed(self, seen, frame) -> None:
        super().observed(seen, frame)
        if self._since is None:
            self._since = seen.number
        if seen.number - self._since < self._after:
            return
        if self._heard == 0:
            if not self._edits:
                self.stop.set()
                return
            self._edits.pop(0)()
            self._heard = 1
        time.sleep(0.05)  # virtual time is fast: whoever watches gets a moment

    def _tell(self) -> None:
        self._heard, self._since = 0, None

    def told(self, t_s, who, words) -> None:
        super().told(t_s, who, words)
        self._tell()

    def fault(self, message) -> None:
        super().fault(message)
        self._tell()


@pytest.fixture
def folder(tmp_path) -> Path:
    write(tmp_path)
    text = EXPERIMENT.replace("LOOPS", str(MOST))
    (tmp_path / "edited.yaml").write_text(text)
    return tmp_path


def write(folder: Path, word: str = "old", more: str = "") -> None:
    """Save the policy as editors on Windows do: a new file in place of the old one."""
    text = POLICY.format(word=word, more=more)
    (folder / "counting.tmp").write_text(text)
    os.replace(folder / "counting.tmp", folder / "counting.py")


def edit(folder: Path, old: str, new: str) -> None:
    file = folder / "edited.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def edited(folder: Path, *edits: Callable[[], object], **more):
    editor = Editor(*edits)
    result = run(
        folder / "edited.yaml",
        rig=specimen_rig(),
        output=folder / "runs",
        monitor=editor,
        stop=editor.stop,
        **more,
    )
    assert result.outcome == "stopped", result.message
    assert not editor._edits
    return result, list(result.folder.entries("reload"))


def reasons(result) -> list[str]:
    found = [d.requests[0].action.reason for d in result.folder.decisions]
    assert len(found) < MOST - 1, "the edit was heard of"
    return found


def test_parameters_take_effect_and_the_state_is_kept(folder) -> None:
    result, (entry,) = edited(folder, lambda: edit(folder, "step: 1", "step: 10"))
    said, at = reasons(result), entry["observation"]
    assert said[:at] == [f"old {n}" for n in range(1, at + 1)]
    assert said[at:] == [f"old {at + 10 * n}" for n in range(1, len(said) - at + 1)]
    assert len(said) > at > 2
    assert (entry["what"], entry["parameters"]) == ("parameters", {"step": 10})
    assert entry["message"] == "reloaded: step 1 -> 10"
    again = replay(result.path)
    assert again.identical, again.message
    assert again.decisions == len(said)


def test_a_new_file_starts_anew(folder) -> None:
    result, (entry,) = edited(folder, lambda: write(folder, "new"))
    said, at = reasons(result), entry["observation"]
    assert said[at - 1 : at + 2] == [f"old {at}", "new 1", "new 2"]
    assert (entry["what"], entry["class"]) == ("file", "Counting")
    assert "new" in entry["source"]
    assert (
        entry["source_sha256"] != result.folder.header["policies"][0]["source_sha256"]
    )
    # What runs at the start of the run is in the run, whatever the file says by now.
    write(folder, "another")
    again = replay(result.path)
    assert again.identical, again.message


def test_a_new_file_may_take_over_what_it_likes(folder) -> None:
    result, (entry,) = edited(folder, lambda: write(folder, "new", MIGRATE))
    said, at = reasons(result), entry["observation"]
    assert said[at - 1 : at + 1] == [f"old {at}", f"new {at + 1}"]
    assert replay(result.path).identical


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("    def start(self, context: 1/0", "this is not Python"),
        ("    x: int\n", "needs 'x'"),
        ("    def start(self, c):\n        1 / 0\n", "fails when it is started"),
        ("    per = 'run'\n", "is now per 'run'"),
    ],
)
def test_what_does_not_load_is_refused_and_the_old_one_goes_on(
    folder, more, why
) -> None:
    result, (entry,) = edited(folder, lambda: write(folder, "new", more))
    said = reasons(result)
    assert said == [f"old {n}" for n in range(1, len(said) + 1)]
    assert why in entry["message"]
    assert "the run goes on as it was" in entry["message"]
    assert "\n" not in entry["message"]
    # The file is as wrong as ever, and the run is decided again from its own copy.
    assert replay(result.path).identical


def test_what_fails_when_it_first_reacts_is_undone(folder) -> None:
    # It has counted on the state it took over before it fails.
    result, entries = edited(folder, lambda: write(folder, "{1 / 0}", MIGRATE))
    taken, undone = entries
    said = reasons(result)
    assert said == [f"old {n}" for n in range(1, len(said) + 1)]
    assert taken["observation"] == undone["observation"]
    assert "ZeroDivisionError" in undone["message"]
    assert "the policy goes on as it was before" in undone["message"]
    assert list(result.folder.entries("fault")) == []
    assert replay(result.path).identical


def test_a_migration_that_fails_changes_nothing(folder) -> None:
    more = "    def migrate(self, old):\n        old._count = -5\n        1 / 0\n"
    result, (entry,) = edited(folder, lambda: write(folder, "new", more))
    said = reasons(result)
    assert said == [f"old {n}" for n in range(1, len(said) + 1)]
    assert "ZeroDivisionError" in entry["refused"]
    assert replay(result.path).identical


def test_one_edit_after_the_other(folder) -> None:
    result, entries = edited(
        folder,
        lambda: edit(folder, "step: 1", "step: 2"),
        lambda: edit(folder, "step: 2", "step: two"),
        lambda: write(folder, "new", MIGRATE),
        lambda: edit(folder, "step: two", "step: 3"),
    )
    kinds = [e.get("what", "refused") for e in entries]
    # The file comes with the parameters as they stand, which are wrong just then.
    assert kinds == ["parameters", "refused", "refused", "file"]
    assert "got 'two'" in entries[1]["message"]
    assert "edited.yaml, line" in entries[1]["message"]
    assert entries[-1]["parameters"] == {"step": 3}
    assert reasons(result)[-1].startswith("new")
    assert replay(result.path).identical


def test_what_cannot_change_in_a_run_is_named(folder) -> None:
    result, (entry,) = edited(
        folder, lambda: edit(folder, "interval: 2", "interval: 1")
    )
    assert "acquisition changed in edited.yaml" in entry["message"]
    assert "from the next run on" in entry["message"]
    assert replay(result.path).identical


@pytest.mark.parametrize("how", ["option", "experiment"])
def test_it_can_be_switched_off(folder, how) -> None:
    edit(folder, str(MOST), "30")
    if how == "experiment":
        edit(folder, "name: edited", "name: edited\nreload: false")
    done = []

    class Once(Monitor):
        def observed(self, seen, frame):
            super().observed(seen, frame)
            if seen.number == 2:
                edit(folder, "step: 1", "step: 10")
                done.append(seen.number)
            time.sleep(0.05)

    result = run(
        folder / "edited.yaml",
        rig=specimen_rig(),
        output=folder / "runs",
        monitor=Once(),
        reload=how != "option",
    )
    assert done == [2]
    assert reasons(result) == [f"old {n}" for n in range(1, 31)]
    assert list(result.folder.entries("reload")) == []
    names = [t.name for t in threading.enumerate()]
    assert "smartscope-reload" not in names


def test_the_experiment_as_written_says_whether_it_reloads(folder) -> None:
    loaded = load_experiment(folder / "edited.yaml")
    assert loaded.reload
    assert "reload: true" in dump_yaml(loaded)


def test_a_recording_takes_edits_over_too(folder) -> None:
    import numpy as np
    import tifffile

    tifffile.imwrite(folder / "film.tif", np.zeros((MOST, 16, 16), np.uint16))
    rig = folder / "recorded.yaml"
    rig.write_text(
        "name: recorded\nrecording: {path: film.tif, interval_s: 1, pixel_um: 1}\n"
    )
    editor = Editor(lambda: edit(folder, "step: 1", "step: 10"))
    result = run(
        folder / "edited.yaml",
        rig=rig,
        output=folder / "runs",
        monitor=editor,
        stop=editor.stop,
    )
    assert result.outcome == "stopped", result.message
    (entry,) = result.folder.entries("reload")
    assert reasons(result)[entry["observation"]] == f"old {entry['observation'] + 10}"
    assert replay(result.path).identical


def test_a_stream_takes_edits_over_too(folder) -> None:
    text = (folder / "edited.yaml").read_text()
    start, end = text.index("acquisition:"), text.index("light:")
    stream = (
        f"acquisition: {{stream: {{channel: FITC, exposure_ms: 20, frames: {MOST}}}}}"
    )
    (folder / "edited.yaml").write_text(f"{text[:start]}{stream}\n{text[end:]}")
    result, (entry,) = edited(folder, lambda: edit(folder, "step: 1", "step: 10"))
    assert reasons(result)[entry["observation"]] == f"old {entry['observation'] + 10}"
    assert replay(result.path).identical
