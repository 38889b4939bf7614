"""Whether a run on disk is whole: journal, images, labels and tables agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from smartscope.core import RecordError
from smartscope.record._journal import read_journal
from smartscope.record._ngff import (
    LEVEL,
    image_folder,
    label_folder,
    read_attributes,
)
from smartscope.record._tables import DERIVED, table_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from smartscope.record._folder import FrameRecord, RunFolder

_At = tuple[int, ...]
_NAMED = 8


def verify_run(run: RunFolder) -> tuple[str, ...]:
    """Problems of a run, one sentence each; empty when it is whole."""
    told: dict[str, list[FrameRecord]] = defaultdict(list)
    labelled: dict[str, set[_At]] = defaultdict(set)
    try:
        problems = list(_journal(run))
        for frame in run.frames:
            if frame.array is not None:
                told[frame.array].append(frame)
        for entry in run.entries("labels"):
            labelled[entry["array"]].add(tuple(entry["at"]))
    except RecordError as error:
        # Past a damaged line nothing is known, so there is nothing else to compare.
        return (str(error),)
    for name in sorted({*run.images, *told}):
        problems += _image(run, name, told[name])
        labels = label_folder(run.path, name) / LEVEL
        if stray := sorted(_chunks(labels) - labelled[name]):
            places = stray[:_NAMED]
            problems.append(f"labels of {name} no journal entry explains, at {places}")
    return (*problems, *_files(run))


def _journal(run: RunFolder) -> Iterator[str]:
    expected = 0
    first = last = None
    frame_ids: Counter[int] = Counter()
    for entry in read_journal(run.path / "journal.jsonl"):
        if entry["kind"] == "torn":
            yield (
                f"the last journal line ({entry['line']}) was cut off; what it told "
                "is lost"
            )
            continue
        if entry["n"] != expected:
            yield f"journal entry {expected} is missing, {entry['n']} comes instead"
        expected = entry["n"] + 1
        first, last = first or entry["kind"], entry["kind"]
        if entry["kind"] == "frame":
            frame_ids[entry["frame_id"]] += 1
    if first != "run":
        yield "the journal does not begin with a 'run' entry"
    if last != "end":
        yield "the run was cut off: the journal has no 'end' entry"
    if twice := [i for i, count in frame_ids.items() if count > 1]:
        yield f"the journal tells of {_numbers('frame', twice)} more than once"


def _image(run: RunFolder, name: str, told: list[FrameRecord]) -> Iterator[str]:
    try:
        array = run.images[name]
    except KeyError:
        lost = _numbers("frame", [frame.frame_id for frame in told])
        yield f"image {name} is missing, with {lost}"
        return
    except RecordError as error:
        yield str(error)
        return
    folder = image_folder(run.path, name)
    growing = read_attributes(folder).get("smartscope", {}).get("growing", False)
    lead = list(array.shape[:-2])
    if growing and run.end is None:
        # It grows when pixels come; after a crash the journal may be ahead of them.
        lead[0] = max([lead[0], *(frame.at[0] + 1 for frame in told if frame.at)])
    yield from _places(name, (*lead, *array.shape[-2:]), told)
    # After a crash the last block is untrimmed; the journal says what of it counts.
    if growing and run.end is not None and array.shape[0] != len(told):
        yield (
            f"image {name} has {array.shape[0]} time points, the journal tells of "
            f"{len(told)} frames"
        )
    there = _chunks(folder / LEVEL)
    if stray := sorted(there - {frame.at for frame in told}):
        places = stray[:_NAMED]
        yield f"image {name} holds pixels no journal entry explains, at {places}"
    yield from _pixels(run, told, there)


def _places(
    name: str, shape: tuple[int, ...], told: list[FrameRecord]
) -> Iterator[str]:
    lead, plane = shape[:-2], shape[-2:]
    wrong = [
        frame.frame_id
        for frame in told
        if frame.shape != plane
        or len(frame.at) != len(lead)
        or not all(0 <= i < n for i, n in zip(frame.at, lead, strict=True))
    ]
    if wrong:
        yield f"{_numbers('frame', wrong)} cannot lie in image {name} of shape {shape}"
    shared = [at for at, n in Counter(frame.at for frame in told).items() if n > 1]
    if shared:
        yield f"image {name}: the journal puts several frames at {shared[:_NAMED]}"


def _pixels(run: RunFolder, told: list[FrameRecord], there: set[_At]) -> Iterator[str]:
    lost = [frame.frame_id for frame in told if frame.at not in there]
    if lost:
        yield f"the pixels of {_numbers('frame', lost)} never reached the disk"
    damaged = []
    for frame in told:
        try:
            if frame.at in there and run.image(frame.frame_id).shape != frame.shape:
                damaged.append(frame.frame_id)
        except RecordError:
            damaged.append(frame.frame_id)
    if damaged:
        yield f"the pixels of {_numbers('frame', damaged)} cannot be read"


def _chunks(folder: Path) -> set[_At]:
    # Chunk keys are c/<lead...>/0/0, one plane each.
    root = folder / "c"
    found = set()
    for file in root.rglob("*") if root.is_dir() else ():
        keys = file.relative_to(root).parts
        if file.is_file() and all(key.isdigit() for key in keys):
            found.add(tuple(int(key) for key in keys[:-2]))
    return found


def _files(run: RunFolder) -> Iterator[str]:
    for name in ("experiment.yaml", "rig.yaml"):
        if not (run.path / name).is_file():
            yield f"{name} is missing"
    for name in DERIVED:
        if not table_file(run.path, name).is_file():
            if run.end is not None:
                yield f"the table {name} is missing; it can be made from the journal"
            continue
        try:
            run.table(name)
        except RecordError as error:
            yield str(error)


def _numbers(noun: str, numbers: Iterable[int]) -> str:
    values = list(numbers)
    text = ", ".join(map(str, values[:_NAMED]))
    more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED else ""
    return f"{noun}{'s' if len(values) > 1 else ''} {text}{more}"
