"""The journal: one line per fact, in the order in which the facts were told."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from smartscope.core import RecordError, encode
from smartscope.core.codec import dump
from smartscope.record._disk import write_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path

_RESERVED = frozenset(("n", "kind", "t_ns"))
_MAX_WAITING = 20_000
# Few, so that the interpreter is let go often: a camera thread may be waiting for it.
_BATCH = 4
# Short, so that little is left to write when somebody has to wait for it.
_POLL_S = 0.005
_PATIENCE_S = 30.0

_Entry = tuple[int, str, int, "Mapping[str, Any]"]


class Journal:
    """Append-only JSONL file, written by a thread of its own.

    Each line is ``{"n": 0, "kind": "run", "t_ns": 12, ...}``. The order of `n` is the
    order of the calls and of the lines. A line reaches the operating system within
    50 ms, which outlives the death of this process; it is not forced onto the platter.

    Parameters
    ----------
    path : Path
        A file that does not exist yet.

    Raises
    ------
    RecordError
        If the file exists or cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = _open_new(path)
        except OSError as error:
            raise RecordError(
                f"the journal {path} cannot be created ({_why(error)}); choose another "
                "folder with 'record: path' in the experiment"
            ) from error
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        # Open when somebody waits. A bare lock wakes the thread sooner than a Condition
        # would, and every planned exposure waits for that.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._flushes: list[tuple[int, threading.Lock]] = []
        self._waiting: deque[_Entry] = deque()
        self._next = 0
        self._written = 0
        self._failure: str | None = None
        self._refused: str | None = None
        self._closing = False
        self._hurry = False
        # A daemon: a crash on the way to close() must not keep the process alive.
        self._thread = threading.Thread(
            target=self._run, name="smartscope-journal", daemon=True
        )
        self._thread.start()

    @property
    def written(self) -> int:
        """How many entries were handed to the operating system so far.

        Raises
        ------
        RecordError
            If the disk failed.
        """
        if self._failure is not None:
            raise RecordError(self._failure)
        return self._written

    def write(
        self,
        kind: str,
        data: Mapping[str, Any],
        *,
        t_ns: int,
        flush: bool = False,
        wait: bool = True,
    ) -> int:
        """Queue one entry; callable from any thread, takes microseconds.

        Parameters
        ----------
        kind : str
            What happened, for example ``intent``; any word.
        data : mapping
            Plain values and core types; `dump` is applied later, on the journal's
            thread, so nothing in it may change afterwards, and it should hold no
            pixels.
        t_ns : int
            Run-clock time of the entry.
        flush : bool
            Return only when the line was handed to the operating system, as `check`.
        wait : bool
            Wait for room if 20 000 entries wait for the disk already. A camera thread
            cannot; it is not told either of an entry of others that was no JSON.

        Returns
        -------
        int
            The entry's number, counted from 0 without gaps.

        Raises
        ------
        ValueError
            If `data` uses one of the keys ``n``, ``kind`` and ``t_ns``.
        RecordError
            If this or an earlier entry could not be written, or there is no room.
        """
        if not data.keys().isdisjoint(_RESERVED):
            raise ValueError(
                f"journal data may not use the keys {sorted(_RESERVED & set(data))}: "
                f"put the object under a key of its own, {{'{kind}': ...}}"
            )
        with self._lock:
            self._raise_failure(blame=wait)
            if self._closing:
                raise RecordError(f"the journal {self.path} is closed already")
            if len(self._waiting) >= _MAX_WAITING:
                self._make_room(wait)
            number = self._next
            self._next += 1
            # The mapping is copied here: a caller may go on using its own.
            self._waiting.append((number, kind, int(t_ns), dict(data)))
        if flush:
            self.check()
        return number

    def wait_for_room(self) -> None:
        """Return when an entry can be queued.

        Raises
        ------
        RecordError
            If that takes 30 s, or the disk failed.
        """
        with self._lock:
            self._make_room(wait=True)

    def flush(self) -> None:
        """Return when every entry told so far was handed to the operating system.

        The journal's own thread writes, never the caller's: whatever the disk does,
        the caller is back after 30 s, and every later call is refused at once.

        Raises
        ------
        RecordError
            If the disk failed, or does not answer for 30 s.
        """
        with self._lock:
            goal = self._next
            if self._failure is not None:
                raise RecordError(self._failure)
            if self._written >= goal:
                return
            answer = threading.Lock()
            answer.acquire()
            self._flushes.append((goal, answer))
            self._hurry = True
        self._ring()
        answered = answer.acquire(timeout=_PATIENCE_S)
        if not answered or self._failure is not None:
            self._give_up(goal)

    def check(self) -> None:
        """Wait for the disk as `flush` does, then raise what is wrong.

        Raises
        ------
        RecordError
            If an entry could not be written and nobody was told yet, or the disk
            failed or does not answer for 30 s.
        """
        self.flush()
        with self._lock:
            self._raise_failure()

    def close(self) -> None:
        """Write what is waiting and close the file; a second call does nothing.

        Raises
        ------
        RecordError
            If an entry could not be written, or the disk does not answer for 30 s.
        """
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._ring()
        self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():
            raise RecordError(self._sentence("the disk does not answer"))
        with self._lock:
            self._raise_failure()

    def _raise_failure(self, *, blame: bool = True) -> None:
        if self._failure is not None:
            raise RecordError(self._failure)
        if blame and self._refused is not None:
            # Told once: the file itself is sound, so the end can still be written.
            refused, self._refused = self._refused, None
            raise RecordError(refused)

    def _ring(self) -> None:
        # Open already: somebody else rang, and the thread has yet to hear it.
        with contextlib.suppress(RuntimeError):
            self._bell.release()

    def _give_up(self, goal: int) -> None:
        with self._lock:
            # The answer may have come just after our patience ended.
            if self._written >= goal:
                return
            if self._failure is None:
                self._failure = self._sentence("the disk does not answer")
            raise RecordError(self._failure)

    def _make_room(self, wait: bool) -> None:
        end = time.monotonic() + _PATIENCE_S
        while len(self._waiting) >= _MAX_WAITING and self._failure is None:
            if not wait:
                raise RecordError(
                    f"the disk of {self.path} does not keep up: {_MAX_WAITING} journal "
                    "entries wait for it; use a faster disk, or react less often"
                )
            if not self._room.wait(max(0.0, end - time.monotonic())):
                self._failure = self._sentence("the disk does not keep up")
        self._raise_failure(blame=False)

    def _run(self) -> None:
        # Nobody above a thread would see what it raises: whatever goes wrong is kept
        # and raised to the next caller.
        try:
            while self._step():
                pass
        except OSError as error:
            self._fail(self._sentence(_why(error)))
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            self._fail(
                f"the journal {self.path} has stopped ({what}), which is a defect of "
                "smartscope; report it, then start again"
            )
        finally:
            self._file.close()

    def _step(self) -> bool:
        # The thread looks every 5 ms by itself: an ordinary write then costs its
        # caller no thread switch. Only a flush rings.
        if not self._waiting and not self._closing:
            self._bell.acquire(timeout=_POLL_S)
        with self._lock:
            count = len(self._waiting)
            if not self._hurry:
                count = min(_BATCH, count)
            self._hurry = False
            batch = [self._waiting.popleft() for _ in range(count)]
            if not batch:
                return not self._closing
        write_all(self._file, b"".join([self._line(entry) for entry in batch]))
        with self._lock:
            self._written = written = batch[-1][0] + 1
            self._room.notify_all()
            flushes, self._flushes = self._flushes, []
            for goal, answer in flushes:
                if goal <= written:
                    answer.release()
                else:
                    self._flushes.append((goal, answer))
        return True

    def _fail(self, problem: str) -> None:
        with self._lock:
            self._failure = problem
            self._waiting.clear()
            self._room.notify_all()
            for _, answer in self._flushes:
                answer.release()
            self._flushes.clear()

    def _line(self, entry: _Entry) -> bytes:
        number, kind, t_ns, data = entry
        try:
            return _text(number, kind, t_ns, data)
        except Exception as error:
            # Whatever a value does when it is looked at, the thread has to live on.
            place = _place(data, kind)
            problem = f"a '{kind}' entry could not be written: {error} in {place}"
            with self._lock:
                self._refused = (
                    f"{problem}; correct the stage or policy that made this value"
                )
            fault = {"message": problem, "where": "record"}
            return _text(number, "fault", t_ns, fault)

    def _sentence(self, reason: str) -> str:
        return (
            f"the journal {self.path} could not be written ({reason}); free space on "
            "the disk or choose another folder with 'record: path', then start again"
        )


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of a journal, in order.

    A last line that was cut off by a crash is reported as a final entry of kind
    ``torn`` with the keys ``n`` (-1), ``t_ns`` (of the entry before), ``line``
    (1-based) and ``bytes``.

    Raises
    ------
    RecordError
        If the file cannot be read, or a line other than a cut-off last one is damaged.
    """
    t_ns = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                entry = _parse(line)
                if entry is not None:
                    t_ns = entry["t_ns"]
                    yield entry
                elif line.endswith(b"\n"):
                    raise RecordError(
                        f"{path}, line {number}: damaged, this is no journal entry; "
                        "restore the file from a copy, or cut it before this line to "
                        "read what came earlier"
                    )
                else:
                    torn = {"line": number, "bytes": len(line)}
                    yield {"n": -1, "kind": "torn", "t_ns": t_ns, **torn}
    except OSError as error:
        raise RecordError(
            f"the journal {path} cannot be read ({_why(error)}); choose a run folder "
            "that smartscope wrote"
        ) from error


def _open_new(path: Path) -> FileIO:
    # Unbuffered: a batch is one system call, and a failed one leaves nothing behind
    # that would fail again at close.
    return path.open("xb", buffering=0)


def _text(number: int, kind: str, t_ns: int, data: Mapping[str, Any]) -> bytes:
    head = f'{{"n":{number},"kind":{dump(kind)},"t_ns":{t_ns}'
    body = f",{dump(data)[1:]}" if data else "}"
    return f"{head}{body}\n".encode("ascii")


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or not entry.keys() >= _RESERVED:
        return None
    plain = isinstance(entry["n"], int) and isinstance(entry["kind"], str)
    return entry if plain and isinstance(entry["t_ns"], int) else None


def _place(data: Mapping[str, Any], kind: str) -> str:
    try:
        return _bad(data, kind) or kind
    except Exception:
        # It changes while it is looked at, or contains itself: no place to name.
        return kind


def _bad(value: Any, place: str) -> str:
    """Dotted place of the first value in `value` that JSON cannot hold."""
    try:
        plain = encode(value)
    except TypeError:
        plain = value
    if isinstance(plain, Mapping | list | tuple):
        pairs = plain.items() if isinstance(plain, Mapping) else enumerate(plain)
        places = (_bad(item, f"{place}.{key}") for key, item in pairs)
        return next((found for found in places if found), "")
    try:
        json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError):
        return place
    return ""


def _why(error: OSError) -> str:
    return error.strerror or str(error)
