"""A run that was killed: what is on disk, and whether all of it is accounted for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from record_helpers import layout, make_frame, make_writer, observation, pixels

from smartscope.core import ConfigError, RecordError
from smartscope.record import RunFolder, open_recording

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_VICTIM = """
import sys
import time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from record_helpers import *
planned = [layout(sizes={"t": 100000}, channels=())]
writer = make_writer(Path(sys.argv[1]), planned, compression=sys.argv[3])
print(writer.path, flush=True)
k = 0
while True:
    role = "baseline" if k % 3 else "reaction"
    frame = make_frame(k, pixels(k), role=role, index={"t": k})
    writer.frame(frame, wait_s=60)
    writer.observed(observation(k, (k,), labels=pixels(k, dtype="uint8")))
    writer.note("intent", {"k": k}, flush=True)
    k += 1
    if k == 400:
        while writer.backlog_bytes > 200 * frame.pixels.nbytes:
            time.sleep(0.005)
        print("busy", flush=True)
"""


@pytest.fixture(scope="module", params=["zstd", "none"])
def killed(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest):
    """Kill a process in the middle of a recording, without a chance to clean up."""
    parent = tmp_path_factory.mktemp("runs")
    here = str(request.path.parent)
    victim = subprocess.Popen(
        [sys.executable, "-c", _VICTIM, str(parent), here, request.param],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert victim.stdout is not None
    with victim, victim.stdout:
        path = victim.stdout.readline().strip()
        assert victim.stdout.readline().strip() == "busy"
        victim.kill()
    return path


def test_finding_9_after_a_kill_every_frame_keeps_its_metadata(killed: str) -> None:
    run = RunFolder(killed)
    assert run.end is None
    assert len(run.frames) >= 400
    assert [record.frame_id for record in run.frames] == list(range(len(run.frames)))
    whole = [r for r in run.frames if run.has_image(r.frame_id)]
    # What may be lost is what was under way, not what came before.
    assert len(whole) >= 100
    for record in whole:
        assert record.state.power_percent == {"488": 12.5}
        expected = pixels(record.frame_id)
        np.testing.assert_array_equal(run.image(record.frame_id), expected)


def test_after_a_kill_nothing_is_unaccounted_for(killed: str) -> None:
    run = RunFolder(killed)
    problems = run.verify()
    assert "the run was cut off: the journal has no 'end' entry" in problems
    lost = [r.frame_id for r in run.frames if not run.has_image(r.frame_id)]
    rest = [p for p in problems if "cut off" not in p and "never reached" not in p]
    assert rest == []
    assert sum("never reached" in p for p in problems) <= 2  # one for each image
    for frame_id in lost:
        with pytest.raises(RecordError, match=f"frame {frame_id} never reached"):
            run.image(frame_id)


def test_after_a_kill_tables_and_labels_are_there(killed: str) -> None:
    run = RunFolder(killed)
    seen = sum(1 for _ in run.observations())
    assert run.tracks().num_rows == 2 * seen >= 2 * 399
    found = run.labels(10)
    assert found is not None
    np.testing.assert_array_equal(found, pixels(10, dtype="uint8"))


def test_a_killed_run_can_be_replayed_as_a_recording(killed: str) -> None:
    run = RunFolder(killed)
    reader = open_recording(killed, image="pos0")
    assert reader.kind == "run"
    # Not the planned 100000 time points: those that were reached.
    assert reader.n_times <= len(run.frames)
    assert not reader.has(0) and reader.has(1) and reader.has(2) and not reader.has(3)
    np.testing.assert_array_equal(reader.read(2), pixels(2))
    with pytest.raises(RecordError, match="no plane t=3"):
        reader.read(3)


# -- verify finds what is wrong ---------------------------------------------------


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    writer = make_writer(tmp_path, [layout(sizes={"t": 4}, channels=())])
    for t in range(3):
        writer.frame(make_frame(t, pixels(t), index={"t": t}))
        writer.frame(make_frame(10 + t, pixels(t), role="reaction"))
        labels = np.full((24, 32), t, np.int32)
        writer.observed(observation(t, (t,), labels=labels))
    writer.close({})
    assert RunFolder(writer.path).verify() == ()
    return writer.path


def _edit(run: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path = run / "journal.jsonl"
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def _chunk(run: Path, name: str, *at: int) -> Path:
    return run.joinpath("images", f"{name}.ome.zarr", "0", "c", *map(str, at), "0", "0")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: _chunk(run, "pos0", 1).unlink(), "frame 1 never reached"),
        (
            lambda run: _chunk(run, "pos0", 1).write_bytes(b"x"),
            "frame 1 cannot be read",
        ),
        (
            lambda run: shutil.copytree(
                _chunk(run, "pos0", 1).parent.parent,
                _chunk(run, "pos0", 3).parent.parent,
            ),
            r"image pos0 holds pixels no journal entry explains, at \[\(3,\)\]",
        ),
        (
            lambda run: shutil.rmtree(run / "images" / "pos0.ome.zarr"),
            "image pos0 is missing, with frames 0, 1, 2",
        ),
        (
            lambda run: (run / "images/pos0.ome.zarr/0/zarr.json").write_text("{"),
            "no readable Zarr array",
        ),
        (lambda run: (run / "rig.yaml").unlink(), "rig.yaml is missing"),
        (lambda run: _edit(run, lambda x: x[:3] + x[4:]), "journal entry 3 is missing"),
        (lambda run: _edit(run, lambda x: x[1:]), "does not begin with a 'run' entry"),
        (lambda run: _edit(run, lambda x: x[:-1]), "was cut off"),
        (lambda run: _edit(run, lambda x: [*x[:-1], x[-1][:5]]), "last journal line"),
        (lambda run: _edit(run, lambda x: [x[0], b"\n", *x[1:]]), "line 2: damaged"),
        (
            lambda run: _edit(
                run, lambda x: [li.replace(b'_id":2,', b'_id":1,') for li in x]
            ),
            "tells of frame 1 more than once",
        ),
        (
            lambda run: _edit(
                run, lambda x: [li.replace(b'"at":[2]', b'"at":[9]') for li in x]
            ),
            "frame 2 cannot lie in image pos0",
        ),
        (
            lambda run: _edit(
                run, lambda x: [li.replace(b'[24,32],"dt', b'[24,33],"dt') for li in x]
            ),
            "frames 0, 1, 2 cannot lie in image pos0",
        ),
        (
            lambda run: (run / "tables/tracks.parquet").write_bytes(b"PAR1"),
            "tracks.parquet is damaged",
        ),
    ],
)
def test_verify_names_the_damage_and_writes_nothing(
    sound: Path, damage: Callable[[Path], object], said: str
) -> None:
    damage(sound)
    before = _fingerprint(sound)
    problems = RunFolder(sound).verify()
    assert any(re.search(said, problem) for problem in problems), problems
    assert _fingerprint(sound) == before


def _fingerprint(run: Path) -> dict[str, int]:
    files = sorted(path for path in run.rglob("*") if path.is_file())
    return {str(path): zlib.crc32(path.read_bytes()) for path in files}


def test_an_array_longer_than_the_journal_explains_is_found(sound: Path) -> None:
    level = sound / "images" / "reaction-camera-24x32.ome.zarr" / "0" / "zarr.json"
    text = json.loads(level.read_text())
    text["shape"][0] = 7
    level.write_text(json.dumps(text))
    (problem,) = RunFolder(sound).verify()
    assert "has 7 time points, the journal tells of 3 frames" in problem


def test_labels_nobody_explains_are_found(sound: Path) -> None:
    _edit(sound, lambda x: [li for li in x if b'"labels"' not in li])
    assert any("labels of pos0" in problem for problem in RunFolder(sound).verify())


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_what_is_no_run_is_a_sentence(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x"
    if what == "empty":
        path.mkdir()
    if what == "file":
        path.write_text("x")
    with pytest.raises(ConfigError, match=r"x (does not exist|is no run folder); name"):
        RunFolder(path)


def test_a_frame_nobody_recorded_is_a_sentence(sound: Path) -> None:
    with pytest.raises(RecordError, match="no frame 99"):
        RunFolder(sound).image(99)
