from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from record_helpers import make_frame, pixels

from smartscope.core import Frame, RecordError, SetPower
from smartscope.record import Journal, read_journal
from smartscope.record import _journal as journal_module

if TYPE_CHECKING:
    from pathlib import Path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    numbers = [journal.write("note", {"k": k, "é": "µm"}, t_ns=k) for k in range(1000)]
    journal.close()
    found = list(read_journal(path))
    assert numbers == list(range(1000))
    assert [entry["n"] for entry in found] == numbers
    assert found[7] == {"n": 7, "kind": "note", "t_ns": 7, "k": 7, "é": "µm"}


def test_core_types_are_encoded_and_pixels_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    action = SetPower(reason="bleaching", line="488", power_percent=12.5)
    frame = make_frame(3, pixels(3))
    data = {"action": action, "frame": frame, "array": np.array([1.0, np.nan])}
    journal.write("any", data, t_ns=0)
    journal.close()
    (entry,) = read_journal(tmp_path / "j")
    assert entry["action"]["do"] == "SetPower"
    assert entry["array"] == [1.0, None]
    assert entry["frame"].keys() == set(Frame.__dataclass_fields__) - {"pixels"}


def test_flush_hands_the_line_over_before_it_returns(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    for k in range(20):
        journal.write("note", {"k": k}, t_ns=k)
        journal.write("intent", {"k": k}, t_ns=k, flush=True)
        # Nothing else has been done to the file: a crash now would leave this.
        assert [entry["kind"] for entry in lines(path)][-2:] == ["note", "intent"]
        assert len(lines(path)) == 2 * (k + 1)
    journal.close()


def test_lines_reach_the_file_without_flush_or_close(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.write("note", {}, t_ns=0)
    arrived = threading.Event()
    for _ in range(1000):
        if (tmp_path / "j").stat().st_size:
            break
        arrived.wait(0.005)
    assert len(lines(tmp_path / "j")) == 1
    journal.close()


def test_threads_keep_the_order_of_their_calls(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    told: dict[int, list[int]] = {who: [] for who in range(6)}
    start = threading.Barrier(6)

    def tell(who: int) -> None:
        start.wait()
        for k in range(300):
            flush = k % 50 == 0
            number = journal.write("note", {"who": who, "k": k}, t_ns=k, flush=flush)
            told[who].append(number)

    threads = [threading.Thread(target=tell, args=(who,)) for who in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    found = list(read_journal(tmp_path / "j"))
    assert [entry["n"] for entry in found] == list(range(1800))
    for who, numbers in told.items():
        mine = [entry for entry in found if entry["who"] == who]
        assert [entry["k"] for entry in mine] == list(range(300))
        assert [entry["n"] for entry in mine] == numbers


def test_the_callers_mapping_may_change_afterwards(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    data = {"k": 1}
    journal.write("note", data, t_ns=0)
    data["k"] = 2
    journal.close()
    assert lines(tmp_path / "j")[0]["k"] == 1


def test_an_existing_file_is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "j").write_text("precious")
    with pytest.raises(RecordError, match="cannot be created"):
        Journal(tmp_path / "j")
    assert (tmp_path / "j").read_text() == "precious"


@pytest.mark.parametrize("key", ["n", "kind", "t_ns"])
def test_reserved_keys_are_refused_at_the_caller(tmp_path: Path, key: str) -> None:
    journal = Journal(tmp_path / "j")
    with pytest.raises(ValueError, match=key):
        journal.write("note", {key: 1}, t_ns=0)
    journal.close()


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({"fine": 1, "deep": {"list": [1.0, float("nan")]}}, "note.deep.list.1"),
        ({"a": float("inf")}, "note.a"),
        ({"a": {"b": object()}}, "note.a.b"),
        ({"action": SetPower(reason="", line="1", power_percent=float("nan"))}, "perc"),
    ],
)
def test_an_unwritable_value_is_named_and_the_journal_stays_sound(
    tmp_path: Path, data: dict[str, Any], place: str
) -> None:
    journal = Journal(tmp_path / "j")
    with pytest.raises(RecordError, match=place):
        journal.write("note", data, t_ns=1, flush=True)
    # Told once; the end of the run can still be written.
    journal.write("end", {}, t_ns=2)
    journal.close()
    first, last = lines(tmp_path / "j")
    assert first["kind"] == "fault" and place in first["message"]
    assert (first["n"], last["n"], last["kind"]) == (0, 1, "end")


def test_an_unwritable_value_told_last_is_raised_at_close(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.write("note", {"a": float("nan")}, t_ns=0)
    with pytest.raises(RecordError, match=r"note\.a"):
        journal.close()
    assert lines(tmp_path / "j")[0]["kind"] == "fault"


class FullDisk:
    """A file that takes `room` bytes; the last write is cut short, as by a real one."""

    def __init__(self, file: Any, room: int) -> None:
        self._file = file
        self._room = room

    def write(self, data: Any) -> int:
        if not self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = int(self._file.write(bytes(data)[: self._room]))
        self._room -= taken
        return taken

    def close(self) -> None:
        self._file.close()


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    real = journal_module._open_new

    def small(path: Path) -> Any:
        return FullDisk(real(path), 100)

    monkeypatch.setattr(journal_module, "_open_new", small)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_stops_the_run_with_a_sentence(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.write("note", {"k": 0}, t_ns=0, flush=True)
    with pytest.raises(RecordError, match=r"No space left.*free space.*record: path"):
        journal.write("intent", {"text": "x" * 100}, t_ns=1, flush=True)
    with pytest.raises(RecordError, match="No space left"):
        journal.write("note", {}, t_ns=2)
    with pytest.raises(RecordError, match="No space left"):
        journal.close()
    first, torn = read_journal(tmp_path / "j")
    assert first["k"] == 0
    assert torn["kind"] == "torn"


@pytest.mark.usefixtures("full_disk")
def test_after_a_disk_failure_nothing_piles_up(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    with pytest.raises(RecordError):
        journal.write("note", {"text": "x" * 200}, t_ns=0, flush=True)
    for _ in range(10):
        with pytest.raises(RecordError):
            journal.write("note", {}, t_ns=0)
    assert len(journal._waiting) == 0
    with pytest.raises(RecordError):
        journal.close()


def test_a_disk_that_hangs_is_told_to_whoever_waits_and_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, free = journal_module.write_all, threading.Event()
    writers: list[threading.Thread] = []

    def hang(*args: Any) -> None:
        writers.append(threading.current_thread())
        free.wait(60)
        real(*args)

    journal = Journal(tmp_path / "j")
    monkeypatch.setattr(journal_module, "_PATIENCE_S", 0.3)
    monkeypatch.setattr(journal_module, "write_all", hang)
    start = time.monotonic()
    with pytest.raises(RecordError, match="does not answer"):
        journal.write("intent", {}, t_ns=0, flush=True)
    for act in (journal.flush, journal.check, lambda: journal.write("a", {}, t_ns=1)):
        with pytest.raises(RecordError, match="does not answer"):
            act()
    assert time.monotonic() - start < 30, "the caller hung with the disk"
    assert writers == [journal._thread]
    free.set()
    with pytest.raises(RecordError, match="does not answer"):
        journal.close()
    assert [entry["kind"] for entry in read_journal(tmp_path / "j")] == ["intent"]


def test_all_who_flush_at_once_are_answered_by_one_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, free = journal_module.write_all, threading.Event()
    reached, writes = threading.Event(), []

    def slow(file: Any, data: bytes) -> None:
        writes.append(data.count(b"\n"))
        reached.set()
        free.wait(60)
        real(file, data)

    monkeypatch.setattr(journal_module, "write_all", slow)
    journal = Journal(tmp_path / "j")
    journal.write("first", {}, t_ns=0)
    assert reached.wait(30)
    threads = [
        threading.Thread(target=journal.write, args=("a", {}), kwargs=options)
        for options in [{"t_ns": 1, "flush": True}] * 6
    ]
    for thread in threads:
        thread.start()
    while len(journal._flushes) < 6:
        time.sleep(0.001)
    free.set()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert writes == [1, 6]
    assert journal.written == 7
    journal.close()


def endless() -> dict[str, Any]:
    nest: list[Any] = []
    nest.append(nest)
    return {"fine": 1, "a": nest}


class Restless(dict[str, Any]):
    """A mapping that somebody changes while it is written."""

    def items(self) -> Any:
        raise RuntimeError("dictionary changed size during iteration")


@pytest.mark.parametrize("flush", [True, False])
@pytest.mark.parametrize(
    "data", [endless(), {"a": Restless(b=1)}], ids=["nest", "dict"]
)
def test_a_value_that_cannot_be_looked_at_is_a_fault_and_no_end(
    tmp_path: Path, data: dict[str, Any], flush: bool
) -> None:
    journal = Journal(tmp_path / "j")
    with pytest.raises(RecordError, match="a 'note' entry could not be written"):
        journal.write("note", data, t_ns=1, flush=flush)
        journal.check()
    journal.write("end", {}, t_ns=2, flush=True)
    journal.close()
    first, last = lines(tmp_path / "j")
    assert (first["n"], first["kind"], first["where"]) == (0, "fault", "record")
    assert (last["n"], last["kind"]) == (1, "end")


@pytest.mark.parametrize("flush", [True, False])
def test_a_defect_of_the_journal_is_told_to_the_next_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flush: bool
) -> None:
    real = journal_module.write_all

    def broken(*args: Any) -> None:
        raise ZeroDivisionError("ours")

    journal = Journal(tmp_path / "j")
    monkeypatch.setattr(journal_module, "write_all", broken)
    with pytest.raises(RecordError, match=r"ZeroDivisionError: ours.*report it"):
        journal.write("lost", {}, t_ns=0, flush=flush)
        journal.flush()
    monkeypatch.setattr(journal_module, "write_all", real)
    # Nothing may be written behind what was lost, or be counted as written.
    with pytest.raises(RecordError, match="ours"):
        journal.write("later", {}, t_ns=1, flush=True)
    with pytest.raises(RecordError, match="ours"):
        _ = journal.written
    with pytest.raises(RecordError, match="ours"):
        journal.close()
    assert not journal._thread.is_alive()
    assert (tmp_path / "j").read_bytes() == b""


def test_a_full_queue_makes_the_caller_wait_not_the_memory_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_MAX_WAITING", 8)
    journal = Journal(tmp_path / "j")
    most = 0
    for k in range(500):
        journal.write("note", {"k": k}, t_ns=k)
        most = max(most, len(journal._waiting))
    journal.close()
    assert most <= 8
    assert [entry["k"] for entry in read_journal(tmp_path / "j")] == list(range(500))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file-size limit")
def test_a_real_file_size_limit(tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
from smartscope.core import RecordError
from smartscope.record import Journal
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
journal = Journal(Path(sys.argv[1]))
try:
    for k in range(100):
        journal.write("note", {"k": k}, t_ns=k, flush=True)
except RecordError as error:
    print(k, error)
"""
    path = tmp_path / "j"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    stopped = int(done.stdout.split()[0])
    assert "File too large" in done.stdout
    whole = [entry for entry in read_journal(path) if entry["kind"] != "torn"]
    assert [entry["k"] for entry in whole] == list(range(stopped))


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.close()
    journal.close()
    with pytest.raises(RecordError, match="closed"):
        journal.write("note", {}, t_ns=0)


def test_no_thread_is_left_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    journal = Journal(tmp_path / "j")
    assert threading.active_count() == before + 1
    journal.close()
    assert threading.active_count() == before


def test_every_cut_of_the_last_line_is_reported_and_nothing_else_lost(
    tmp_path: Path,
) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    for k in range(3):
        journal.write("note", {"k": k}, t_ns=10 * k)
    journal.close()
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in range(last + 1, len(whole) - 1):
        path.write_bytes(whole[:end])
        *kept, torn = read_journal(path)
        assert [entry["k"] for entry in kept] == [0, 1]
        assert torn == {
            "n": -1,
            "kind": "torn",
            "t_ns": 10,
            "line": 3,
            "bytes": end - last,
        }
    path.write_bytes(whole[:-1])  # only the line break is missing: the line is whole
    assert [entry["k"] for entry in read_journal(path)] == [0, 1, 2]


@pytest.mark.parametrize("damage", [b"{]\n", b"\n", b"[1]\n", b'{"n":1}\n', b"\0\0\n"])
def test_damage_elsewhere_names_the_line(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    for k in range(3):
        journal.write("note", {"k": k}, t_ns=0)
    journal.close()
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + damage + third)
    reading = read_journal(path)
    assert next(reading)["k"] == 0
    with pytest.raises(RecordError, match="line 2: damaged"):
        next(reading)
    path.write_bytes(first + second + damage)
    with pytest.raises(RecordError, match="line 3: damaged"):
        list(read_journal(path))


def test_a_missing_journal_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be read"):
        list(read_journal(tmp_path / "none"))
