from __future__ import annotations

import errno
import json
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from record_helpers import STARTED, layout, make_frame, make_writer, observation, pixels

from smartscope.config import RecordConfig
from smartscope.core import (
    ConfigError,
    Decision,
    Frame,
    Nothing,
    Outcome,
    RecordError,
    Request,
    SetPower,
    View,
)
from smartscope.record import (
    ImageLayout,
    RunFolder,
    RunWriter,
    _layout,
    _recorder,
    _store,
    check_disk_space,
    forecast_bytes,
    free_bytes,
    rebuild_tables,
)

# -- the folder -------------------------------------------------------------------


def test_the_folder_holds_what_was_run(tmp_path: Path) -> None:
    writer = make_writer(tmp_path / "not" / "there", name="Film: divisions / fast!")
    writer.close({"outcome": "completed"})
    assert writer.path.name == "2026-11-22T14-05-03_film-divisions-fast"
    run = RunFolder(writer.path)
    assert run.experiment_yaml == "name: film\n"
    assert run.rig_yaml == "name: demo\n"
    assert run.header["version"] == "0"
    assert run.header["name"] == "Film: divisions / fast!"
    assert run.end is not None and run.end["outcome"] == "completed"
    assert [entry["kind"] for entry in run.entries()] == ["run", "end"]
    assert run.verify() == ()


def test_an_existing_run_folder_is_never_written_into(tmp_path: Path) -> None:
    paths = []
    for _ in range(3):
        writer = make_writer(tmp_path)
        writer.close({})
        paths.append(writer.path.name)
    base = "2026-11-22T14-05-03_film-divisions"
    assert paths == [base, f"{base}-2", f"{base}-3"]
    (tmp_path / f"{base}-4").mkdir()
    (tmp_path / f"{base}-4" / "precious").write_text("x")
    writer = make_writer(tmp_path)
    writer.close({})
    assert writer.path.name == f"{base}-5"
    assert [p.name for p in (tmp_path / f"{base}-4").iterdir()] == ["precious"]


@pytest.mark.parametrize("name", ["", "..", "con", 'a\\b:c*?"<>|', "x" * 300, "细胞"])
def test_any_name_gives_a_short_legal_folder(tmp_path: Path, name: str) -> None:
    writer = make_writer(tmp_path, name=name)
    writer.close({})
    assert writer.path.parent == tmp_path
    assert len(writer.path.name) <= 60
    assert not set(writer.path.name) & set('\\/:*?"<>| ')


def test_a_file_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for parent in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match=r"record.path: .*a file in the way"):
            make_writer(parent)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_folder_that_refuses_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_layout, "free_bytes", lambda folder: 10**12)
    with pytest.raises(ConfigError, match="no run folder can be made in /proc"):
        make_writer(Path("/proc/smartscope"))


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere"
)
def test_no_permission_is_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ConfigError, match="where you may write"):
            make_writer(tmp_path / "runs")
    finally:
        tmp_path.chmod(0o700)


# -- disk space -------------------------------------------------------------------


def test_the_forecast_counts_every_plane() -> None:
    small = layout(sizes={"t": 2}, shape_yx=(3, 5), dtype="uint8")
    assert forecast_bytes([small, layout()]) == 2 * 15 + 4 * 2 * 24 * 32 * 2


def test_free_space_of_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a" / "b") > 0


def test_too_small_a_disk_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    huge = layout(sizes={"t": 10**9})
    with pytest.raises(ConfigError, match=r"may need .* MB .*left; free space"):
        make_writer(tmp_path / "runs", [huge])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="must stay free"):
        check_disk_space(tmp_path, 0, min_free_mb=1e12)


def test_a_disk_that_fills_up_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make_writer(tmp_path, [layout()])
    monkeypatch.setattr(_layout, "free_bytes", lambda folder: 1_000_000)
    monkeypatch.setattr(_recorder, "_DISK_CHECK_S", 0.0)
    message = _write_until_refused(writer)
    assert "has 1 MB left (record.min_free_mb: 200)" in message
    with pytest.raises(RecordError, match="1 MB left"):
        writer.close({})
    # What happened and what is missing is on record nevertheless.
    run = RunFolder(writer.path)
    assert run.end is not None and "1 MB left" in run.end["record"]
    (fault,) = run.entries("fault")
    lost = [frame.frame_id for frame in run.frames if not run.has_image(frame.frame_id)]
    assert lost == fault["lost_frames"] != []


def _write_until_refused(writer: RunWriter) -> str:
    for k in range(100, 10_000):
        try:
            writer.frame(make_frame(k, pixels(k), role="stream"))
        except RecordError as error:
            return str(error)
        threading.Event().wait(0.001)
    raise AssertionError("the record never refused a frame")


# -- frames -----------------------------------------------------------------------


def test_frames_come_back_as_they_were(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, [layout(), layout(name="pos1", position=1)])
    sent: list[Frame] = []
    for t in range(4):
        for p in range(2):
            for c in range(2):
                image = pixels(len(sent))
                index = {"t": t, "p": p, "c": c}
                frame = make_frame(len(sent), image, p, index=index, planned_s=2.0 * t)
                sent.append(frame)
                writer.frame(frame)
    writer.close({})
    run = RunFolder(writer.path)
    assert run.verify() == ()
    assert [record.frame_id for record in run.frames] == list(range(16))
    for frame, record in zip(sent, run.frames, strict=True):
        assert record.array == f"pos{frame.view.position}"
        assert record.at == (frame.index["t"], frame.index["c"])
        assert record.state == frame.state
        assert record.view == frame.view
        assert record.channel == "FITC"
        back = run.frame(frame.frame_id)
        np.testing.assert_array_equal(back.pixels, frame.pixels)
        for field in Frame.__dataclass_fields__:
            if field != "pixels":
                assert getattr(back, field) == getattr(frame, field), field
        assert not back.pixels.flags.writeable
    assert np.asarray(run.images["pos1"]).shape == (4, 2, 24, 32)


def test_finding_8_a_failed_snap_shifts_nothing(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, [layout(sizes={"t": 5}, channels=())])
    for t in (0, 1, 3, 4):
        writer.frame(make_frame(t, pixels(t), index={"t": t}))
    writer.close({})
    run = RunFolder(writer.path)
    array = np.asarray(run.images["pos0"])
    for t in (0, 1, 3, 4):
        np.testing.assert_array_equal(array[t], pixels(t))
    assert not array[2].any()
    assert [record.frame_id for record in run.frames] == [0, 1, 3, 4]
    assert run.verify() == ()


def test_finding_7_a_new_shape_mid_run_loses_no_frame(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, [layout(sizes={"t": 6}, channels=())])
    shapes = [(24, 32), (24, 32), (10, 12), (10, 12), (24, 32), (10, 12)]
    for t, shape in enumerate(shapes):
        writer.frame(make_frame(t, pixels(t, shape), index={"t": t}))
    writer.close({})
    run = RunFolder(writer.path)
    assert run.verify() == ()
    for t, shape in enumerate(shapes):
        np.testing.assert_array_equal(run.image(t), pixels(t, shape))
    places = [(record.array, record.at) for record in run.frames]
    assert places == [
        ("pos0", (0,)),
        ("pos0", (1,)),
        ("baseline-camera-10x12", (0,)),
        ("baseline-camera-10x12", (1,)),
        ("pos0", (4,)),
        ("baseline-camera-10x12", (2,)),
    ]
    assert run.images["baseline-camera-10x12"].shape == (3, 10, 12)


def test_each_role_camera_shape_and_type_grows_its_own_array(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    sent = {}
    for k in range(150):
        dtype = "uint8" if k % 2 else "uint16"
        image = pixels(k, (6, 7), dtype)
        camera = "A camera with a long name, left" if k % 3 else "Cam"
        role = "stream" if k % 5 else "reaction"
        sent[k] = image
        writer.frame(make_frame(k, image, role=role, view=View(0, camera)))
    writer.close({})
    run = RunFolder(writer.path)
    assert run.verify() == ()
    for k, image in sent.items():
        back = run.image(k)
        assert back.dtype == image.dtype
        np.testing.assert_array_equal(back, image)
    assert set(run.images) == {
        f"{role}-{camera}-6x7{dtype}"
        for role, camera in (
            ("reaction", "cam"),
            ("reaction", "a-camera-with-a"),
            ("stream", "cam"),
            ("stream", "a-camera-with-a-l"),
        )
        for dtype in ("", "-uint8")
    }


def test_names_that_only_a_person_tells_apart_do_not_share_an_array(
    tmp_path: Path,
) -> None:
    writer = make_writer(tmp_path, [layout(name="A1"), layout(name="a1", position=1)])
    cameras = ("Orca", "orca", "A camera with a long name 1", "A camera with a long 2")
    for k, camera in enumerate(cameras):
        view = View(0, camera)
        writer.frame(make_frame(k, pixels(k, (6, 7)), role="stream", view=view))
    writer.close({})
    run = RunFolder(writer.path)
    arrays = {str(record.array) for record in run.frames}
    assert len(arrays) == 4
    names = [name.casefold() for name in (*arrays, *run.images)]
    assert len(set(names)) == len(run.images) == 6
    assert run.verify() == ()


def test_growing_arrays_are_extended_in_blocks_and_trimmed(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, compression="none")
    name = writer.open_growing("stream", "Camera", (4, 4))
    level = writer.path / "images" / f"{name}.ome.zarr" / "0" / "zarr.json"
    assert json.loads(level.read_text())["shape"] == [64, 4, 4]
    for k in range(200):
        writer.frame(make_frame(k, pixels(k, (4, 4)), role="stream"))
    writer.close({})
    assert json.loads(level.read_text())["shape"] == [200, 4, 4]
    run = RunFolder(writer.path)
    assert run.verify() == ()
    np.testing.assert_array_equal(run.image(199), pixels(199, (4, 4)))


def test_an_array_opened_at_warm_up_and_never_used_leaves_nothing(
    tmp_path: Path,
) -> None:
    writer = make_writer(tmp_path)
    writer.open_growing("reaction", "Camera", (8, 8))
    assert len(list((writer.path / "images").iterdir())) == 1
    writer.close({})
    assert list((writer.path / "images").iterdir()) == []
    assert RunFolder(writer.path).verify() == ()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"index": {"t": 9}}, "beyond the plan"),
        ({"index": {"t": 1, "g": 2}}, "another grid place"),
        ({"index": {"t": 1, "burst": 1}}, "another free axis"),
        ({"index": {"t": 1}, "role": "reaction"}, "a reaction"),
        ({"index": {"t": 1}, "view": View(3, "Camera")}, "another position"),
        ({"index": {"t": 0}}, "a place already taken"),
    ],
)
def test_what_does_not_fit_the_plan_overwrites_nothing(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    writer = make_writer(tmp_path, [layout(sizes={"t": 4}, channels=())])
    writer.frame(make_frame(0, pixels(0), index={"t": 0, "p": 0}))
    writer.frame(make_frame(1, pixels(1), **changes))
    writer.close({})
    run = RunFolder(writer.path)
    array = np.asarray(run.images["pos0"])
    np.testing.assert_array_equal(array[0], pixels(0))
    assert not array[1:].any(), why
    np.testing.assert_array_equal(run.image(1), pixels(1))
    assert run.frames[1].array != "pos0"
    assert run.verify() == ()


def test_grid_places_have_images_of_their_own(tmp_path: Path) -> None:
    tiles = [
        layout(name=f"tile{g}", sizes={"t": 2}, channels=(), fixed={"g": g})
        for g in range(3)
    ]
    writer = make_writer(tmp_path, tiles)
    for g in range(3):
        writer.frame(make_frame(g, pixels(g), index={"t": 1, "p": 0, "g": g}))
    writer.close({})
    frames = RunFolder(writer.path).frames
    assert [(r.array, r.at) for r in frames] == [(f"tile{g}", (1,)) for g in range(3)]


def test_dark_frames_are_frames(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, [layout(sizes={"t": 2}, channels=())])
    writer.frame(make_frame(0, np.zeros((24, 32), np.uint16), index={"t": 0}))
    writer.close({})
    run = RunFolder(writer.path)
    assert run.has_image(0) and not run.has_image(1)
    assert not run.image(0).any()
    assert run.verify() == ()


def test_a_single_plane_plan(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, [layout(sizes={}, channels=())])
    writer.frame(make_frame(0, pixels(0)))
    writer.close({})
    run = RunFolder(writer.path)
    np.testing.assert_array_equal(run.image(0), pixels(0))
    assert run.frames[0].at == ()
    assert run.verify() == ()


def test_strided_pixels_are_written_as_they_look(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    image = pixels(0, (40, 60))[::2, ::-3].T
    writer.frame(make_frame(0, image, role="stream"))
    writer.close({})
    np.testing.assert_array_equal(RunFolder(writer.path).image(0), image)


def test_a_run_without_images_keeps_the_journal(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, [layout()], images=False)
    assert not (writer.path / "images").exists()
    labels = np.ones((24, 32), np.int32)
    for k in range(3):
        writer.frame(make_frame(k, pixels(k), index={"t": k}))
        writer.observed(observation(k, (k,), labels=labels))
    writer.close({})
    run = RunFolder(writer.path)
    assert [record.array for record in run.frames] == [None] * 3
    assert run.verify() == ()
    with pytest.raises(RecordError, match=r"record\.images: false"):
        run.image(0)


def test_frames_from_several_threads_are_all_kept(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    start = threading.Barrier(4)

    def send(who: int) -> None:
        start.wait()
        for k in range(40):
            frame_id = 100 * who + k
            image = pixels(frame_id, (5, 5))
            writer.frame(make_frame(frame_id, image, role="stream"))

    threads = [threading.Thread(target=send, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close({})
    run = RunFolder(writer.path)
    assert run.verify() == ()
    assert len(run.frames) == 160
    # The place in the array is the order in the journal.
    assert [record.at for record in run.frames] == [(k,) for k in range(160)]
    for record in run.frames:
        expected = pixels(record.frame_id, (5, 5))
        np.testing.assert_array_equal(run.image(record.frame_id), expected)


# -- backlog and failures ---------------------------------------------------------


class Brake:
    """Holds the recorder thread before it writes, as a disk that hangs would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = threading.Event()
        real = _store.Store.write

        def write(store: Any, at: Any, image: Any) -> Any:
            self.free.wait(30)
            return real(store, at, image)

        monkeypatch.setattr(_store.Store, "write", write)


def test_a_full_backlog_raises_and_drops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brake = Brake(monkeypatch)
    writer = make_writer(tmp_path, max_backlog_mb=0.01)  # six frames of 1536 bytes
    accepted = 0
    with pytest.raises(RecordError, match=r"0 MB wait \(record.max_backlog_mb: 0.01\)"):
        for k in range(100):
            writer.frame(make_frame(k, pixels(k), role="stream"))
            accepted += 1
    assert accepted == 6
    assert writer.backlog_bytes == 6 * 24 * 32 * 2
    brake.free.set()
    writer.close({})
    assert writer.backlog_bytes == 0
    run = RunFolder(writer.path)
    assert len(run.frames) == 6
    assert run.verify() == ()


def test_a_source_that_can_wait_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make_writer(tmp_path, max_backlog_mb=0.005)
    for k in range(60):
        writer.frame(make_frame(k, pixels(k), role="stream"), wait_s=60)
    writer.close({})
    run = RunFolder(writer.path)
    assert len(run.frames) == 60
    assert run.verify() == ()


def test_a_frame_that_waits_too_long_for_the_disk_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brake = Brake(monkeypatch)
    writer = make_writer(tmp_path, max_backlog_s=0.01)
    writer.frame(make_frame(0, pixels(0), role="stream"))
    threading.Event().wait(0.05)
    with pytest.raises(RecordError, match=r"oldest image has waited .*max_backlog_s"):
        writer.frame(make_frame(1, pixels(1), role="stream"))
    brake.free.set()
    writer.close({})
    assert [frame.frame_id for frame in RunFolder(writer.path).frames] == [0]


def test_one_frame_larger_than_the_backlog_still_goes_through(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, max_backlog_mb=0.0001)
    writer.frame(make_frame(0, pixels(0), role="stream"))
    writer.close({})
    assert RunFolder(writer.path).verify() == ()


def test_a_failing_disk_is_told_to_the_next_caller_and_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make_writer(tmp_path, [layout(sizes={"t": 9}, channels=())])
    writer.frame(make_frame(0, pixels(0), index={"t": 0}))
    while writer.backlog_bytes:
        threading.Event().wait(0.001)

    def write(store: Any, at: Any, image: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_store.Store, "write", write)
    message = _write_until_refused(writer)
    assert "No space left on device" in message and "has space" in message
    assert writer.backlog_bytes == 0, "nothing of it will ever reach the disk"
    with pytest.raises(RecordError, match="No space left"):
        writer.close({"outcome": "failed"})
    run = RunFolder(writer.path)
    (fault,) = run.entries("fault")
    journalled = [frame.frame_id for frame in run.frames]
    assert fault["lost_frames"] == journalled[1:]
    assert run.has_image(0)
    problems = run.verify()
    (problem,) = problems
    missing = rf"image stream-camera-24x32 is missing, with frames? {journalled[1]}\b"
    assert re.match(missing, problem)
    last = list(run.entries())[-1]
    assert last["kind"] == "end" and last["outcome"] == "failed"


def test_a_vanished_folder_is_a_sentence(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    (writer.path / "images").write_text("a file where the folder should be")
    message = _write_until_refused(writer)
    assert "images could not be written" in message
    with pytest.raises(RecordError, match="could not be written"):
        writer.close({})


def test_an_image_that_cannot_be_created_is_told_at_warm_up(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    (writer.path / "images").write_text("a file where the folder should be")
    with pytest.raises(RecordError, match=r"cannot be created .*record: path"):
        writer.plan_images([layout()])
    with pytest.raises(RecordError, match="cannot be created"):
        writer.open_growing("stream", "Camera", (4, 4))
    writer.close({})


def test_close_twice_and_abort_afterwards_do_nothing(tmp_path: Path) -> None:
    before = threading.active_count()
    writer = make_writer(tmp_path)
    writer.close({"a": 1})
    writer.close({"a": 2})
    writer.abort()
    assert [entry["a"] for entry in RunFolder(writer.path).entries("end")] == [1]
    assert threading.active_count() == before


def test_what_an_abort_forgets_waits_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smartscope.record import _journal

    writer = make_writer(tmp_path)
    writer.frame(make_frame(0, pixels(0), role="stream"))
    while writer.backlog_bytes:
        threading.Event().wait(0.001)
    real, free = _journal.write_all, threading.Event()

    def late(*args: Any) -> None:
        free.wait(30)
        real(*args)

    # No pixels go before their line, so all of these are still queued.
    monkeypatch.setattr(_journal, "write_all", late)
    for k in range(1, 5):
        writer.frame(make_frame(k, pixels(k), role="stream"))
    assert writer.backlog_bytes == 4 * 24 * 32 * 2
    aborting = threading.Thread(target=writer.abort)
    aborting.start()
    try:
        end = time.monotonic() + 20
        while writer.backlog_bytes and time.monotonic() < end:
            time.sleep(0.001)
    finally:
        free.set()
        aborting.join(30)
    assert writer.backlog_bytes == 0
    run = RunFolder(writer.path)
    assert run.has_image(0)


def test_abort_leaves_a_readable_run_without_an_end(tmp_path: Path) -> None:
    before = threading.active_count()
    writer = make_writer(tmp_path)
    for k in range(5):
        writer.frame(make_frame(k, pixels(k), role="stream"))
    while writer.backlog_bytes:
        threading.Event().wait(0.001)
    writer.abort()
    assert threading.active_count() == before
    run = RunFolder(writer.path)
    assert run.end is None
    for k in range(5):
        np.testing.assert_array_equal(run.image(k), pixels(k))
    assert run.verify() == ("the run was cut off: the journal has no 'end' entry",)


# -- labels, tables, entries ------------------------------------------------------


def test_labels_lie_at_the_index_of_their_image(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, [layout()])
    for t in range(3):
        for c in range(2):
            frame = make_frame(2 * t + c, pixels(t), index={"t": t, "c": c})
            writer.frame(frame)
        labels = np.full((24, 32), t + 1, np.int32)
        writer.observed(observation(t, (2 * t, 2 * t + 1), labels=labels))
    writer.close({})
    run = RunFolder(writer.path)
    assert run.verify() == ()
    for frame_id in range(6):
        found = run.labels(frame_id)
        assert found is not None and found.dtype == np.int32
        assert (found == frame_id // 2 + 1).all()
    assert run.labels(99) is None


def test_labels_of_a_growing_array_grow_and_are_trimmed_with_it(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    for k in range(70):
        writer.frame(make_frame(k, pixels(k, (6, 6)), role="reaction"))
        if k % 2 == 0:
            writer.labels(k, np.full((6, 6), k, np.int32))
    writer.close({})
    run = RunFolder(writer.path)
    assert run.verify() == ()
    assert run.labels(3) is None
    last = run.labels(68)
    assert last is not None and (last == 68).all()
    folder = writer.path / "images" / "reaction-camera-6x6.ome.zarr"
    level = json.loads((folder / "labels/objects/0/zarr.json").read_text())
    assert level["shape"] == [70, 6, 6]


def test_labels_that_replace_others_are_not_given_out_for_the_older_frame(
    tmp_path: Path,
) -> None:
    writer = make_writer(tmp_path, [layout()])
    for c in range(2):
        writer.frame(make_frame(c, pixels(c), index={"t": 0, "c": c}))
        writer.labels(c, np.full((24, 32), c + 7, np.int32))
    writer.close({})
    run = RunFolder(writer.path)
    newer = run.labels(1)
    assert run.labels(0) is None
    assert newer is not None and (newer == 8).all()


def test_labels_can_be_left_out(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, [layout()], labels=False)
    writer.frame(make_frame(0, pixels(0), index={"t": 0, "c": 0}))
    writer.observed(observation(0, (0,), labels=np.ones((24, 32), np.int32)))
    writer.close({})
    assert RunFolder(writer.path).labels(0) is None
    assert not (writer.path / "images" / "pos0.ome.zarr" / "labels").exists()


def test_labels_for_a_frame_nobody_knows_are_refused(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    with pytest.raises(RecordError, match="frame 5"):
        writer.labels(5, np.zeros((4, 4), np.int32))
    writer.close({})


def test_tables_hold_every_row_also_when_features_change(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    for k in range(6):
        features = ("mean_FITC",) if k < 3 else ("mean_FITC", "mean_DAPI", "score")
        writer.observed(observation(k, (k, k + 100), features=features, objects=k))
    writer.close({})
    run = RunFolder(writer.path)
    detections = run.detections().to_pydict()
    assert len(detections["label"]) == sum(range(6))
    assert detections["observation"] == [k for k in range(6) for _ in range(k)]
    assert detections["frame_id"] == [k + 100 for k in range(6) for _ in range(k)]
    # A feature called like a column of ours keeps both; one that came later is empty
    # before.
    assert detections["mean_DAPI"][:3] == [None] * 3
    assert detections["feature_score"][-1] == 9.0
    assert detections["score"][-1] == 4 / 3
    tracks = run.tracks().to_pydict()
    assert tracks["track_id"] == [j + 1 for k in range(6) for j in range(k)]
    assert tracks["parent"] == [None] * 15
    events = run.events().to_pydict()
    assert events["kind"] == ["mitosis"] * 6
    assert events["onset_s"] == [float(k) for k in range(6)]


def test_tables_are_made_in_pieces_of_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    from smartscope.record import _tables

    monkeypatch.setattr(_tables, "_ROWS", 10)
    writer = make_writer(tmp_path)
    for k in range(20):
        writer.observed(observation(k, (k,), objects=3))
    writer.close({})
    file = pq.ParquetFile(writer.path / "tables" / "tracks.parquet")
    sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    assert sizes == [12, 12, 12, 12, 12]


def test_missing_tables_come_from_the_journal(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    for k in range(3):
        writer.observed(observation(k, (k,)))
    writer.close({})
    run = RunFolder(writer.path)
    before = {name: run.table(name) for name in ("tracks", "detections", "events")}
    for name in before:
        (writer.path / "tables" / f"{name}.parquet").unlink()
    assert len(run.verify()) == 3
    for name, table in before.items():
        assert run.table(name).equals(table)
    assert list((writer.path / "tables").iterdir()) == []  # reading writes nothing
    assert [path.name for path in rebuild_tables(writer.path)] == [
        "detections.parquet",
        "tracks.parquet",
        "events.parquet",
    ]
    assert run.verify() == ()
    assert run.tracks().equals(before["tracks"])


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    writer.write_table("truth", {"cell": np.arange(3), "x_um": [0.5, 1.5, 2.5]})
    writer.write_table("Truth_of: divisions", {"cell": [7]})
    writer.close({})
    run = RunFolder(writer.path)
    assert run.table("truth").to_pydict() == {
        "cell": [0, 1, 2],
        "x_um": [0.5, 1.5, 2.5],
    }
    assert run.table("Truth_of: divisions").to_pydict() == {"cell": [7]}
    with pytest.raises(RecordError, match="no table 'none'"):
        run.table("none")
    (writer.path / "tables" / "truth.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(RecordError, match="damaged"):
        run.table("truth")


def test_decisions_and_outcomes_come_back_as_they_were(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    view = View(0, "Camera")
    seen = observation(0, (0,))
    action = SetPower(reason="dim", line="488", power_percent=12.5)
    actions = (action, Nothing(reason="quiet", score=0.1))
    requests = tuple(
        Request(
            action_id=f"0.{k}",
            policy="hold",
            view=view,
            action=act,
            t_decided_ns=5,
            observation=0,
        )
        for k, act in enumerate(actions)
    )
    decision = Decision(
        number=0, observation=0, policy="hold", view=view, requests=requests
    )
    outcome = Outcome(
        action_id="0.0",
        policy="hold",
        status="applied",
        readback={"power_percent": 12.5, "Label": "on"},
        t_ns={"applied": 7},
    )
    writer.observed(seen, {"received": 1, "seen": 2})
    writer.decided(decision)
    writer.outcome(outcome)
    writer.note("dose", {"j_cm2": 0.25})
    writer.close({})
    run = RunFolder(writer.path)
    assert run.decisions == [decision]
    assert run.outcomes == [outcome]
    (back,) = run.observations()
    assert back.tracks == seen.tracks and back.events == seen.events
    np.testing.assert_array_equal(back.detections.score, seen.detections.score)
    (dose,) = run.entries("dose")
    assert dose["j_cm2"] == 0.25
    (entry,) = run.entries("observation")
    assert entry["stamps"] == {"received": 1, "seen": 2}
    kinds = [entry["kind"] for entry in run.entries()]
    assert kinds == ["run", "observation", "decision", "outcome", "dose", "end"]


def test_an_intent_is_on_disk_before_the_light_goes_on(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    writer.note("intent", {"index": {"t": 0}, "dose": {"488": 1.5}}, flush=True)
    last = (writer.path / "journal.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["dose"] == {"488": 1.5}
    writer.close({})


def test_a_bad_value_ends_the_run_in_order(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    writer.note("note", {"a": float("nan")})
    with pytest.raises(RecordError, match=r"note\.a"):
        writer.close({"outcome": "completed"})
    run = RunFolder(writer.path)
    assert run.end is not None and "note.a" in run.end["record"]
    assert [entry["where"] for entry in run.entries("fault")] == ["record"]


def test_a_summary_that_cannot_be_written_still_ends_the_run(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    with pytest.raises(RecordError, match="summary of the run"):
        writer.close({"latency_ms": float("nan")})
    run = RunFolder(writer.path)
    assert run.end is not None and "summary" in run.end["record"]


def test_layouts_with_axes_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="order"):
        ImageLayout(name="a", sizes={"c": 2, "t": 3}, shape_yx=(4, 4))
    with pytest.raises(ValueError, match="positive"):
        ImageLayout(name="a", sizes={"t": 0}, shape_yx=(4, 4))
    assert layout(sizes={"t": 2, "z": 3}).axes == "tzyx"


def test_the_default_clock_is_real(tmp_path: Path) -> None:
    writer = RunWriter.create(
        tmp_path,
        "a",
        experiment_yaml="",
        rig_yaml="",
        header={},
        config=RecordConfig(),
        started=STARTED,
    )
    writer.close({})
    first, last = RunFolder(writer.path).entries()
    assert 0 < first["t_ns"] < last["t_ns"]
