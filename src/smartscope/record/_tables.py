"""Detections, tracks and events as parquet tables, made from the journal.

The journal holds every observation, so the tables are derived from it when a run is
closed, and again whenever a file is missing. Only then are all features known that
any frame had; and a parquet file cut off by a crash could not be read at all.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from smartscope.core import RecordError
from smartscope.record._journal import read_journal
from smartscope.record._layout import slug

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

TABLES = "tables"
DERIVED = ("detections", "tracks", "events")
_ROWS = 20_000
_HEAD = {
    "observation": "int64",
    "frame_id": "int64",
    "t_s": "double",
    "position": "int32",
    "camera": "string",
}
_COLUMNS: dict[str, dict[str, str]] = {
    "detections": {
        "label": "int64",
        "y_px": "double",
        "x_px": "double",
        "x_um": "double",
        "y_um": "double",
        "area_um2": "double",
        "score": "double",
    },
    "tracks": {
        "track_id": "int64",
        "state": "string",
        "parent": "int64",
        "detection": "int64",
        "x_um": "double",
        "y_um": "double",
        "vx_um_s": "double",
        "vy_um_s": "double",
        "frames": "int64",
        "born_s": "double",
        "seen_s": "double",
    },
    "events": {
        "event_id": "int64",
        "kind": "string",
        "score": "double",
        "state": "string",
        "onset_s": "double",
        "x_um": "double",
        "y_um": "double",
        "track_id": "int64",
    },
}

_Rows = dict[str, list[Any]]


def table_file(run: Path, name: str) -> Path:
    """Where table `name` of a run lies."""
    return run / TABLES / f"{slug(name)}.parquet"


def write_table(run: Path, name: str, columns: Mapping[str, Any]) -> Path:
    """Write one whole table.

    Parameters
    ----------
    run : Path
        Run folder.
    name : str
        For example ``truth``.
    columns : mapping of name to sequence or ndarray, all of one length

    Raises
    ------
    RecordError
        If it cannot be written.
    """
    import pyarrow as pa

    table = pa.table(dict(columns))
    return _replace(table_file(run, name), table.schema, lambda: iter((table,)))


def rebuild_tables(run: Path) -> tuple[Path, ...]:
    """Write detections, tracks and events of a run again, from its journal.

    Memory is bounded: the journal is read twice, once for the names of the columns
    and once for the rows.

    Raises
    ------
    RecordError
        If the journal cannot be read or a table not written.
    """
    schemas = _schemas(run)
    return tuple(
        _replace(table_file(run, name), schemas[name], _batches(run, name, schemas))
        for name in DERIVED
    )


def build_table(run: Path, name: str) -> Any:
    """Return one derived table as a pyarrow table, without writing anything."""
    import pyarrow as pa

    schemas = _schemas(run)
    return pa.concat_tables(
        [schemas[name].empty_table(), *_batches(run, name, schemas)()]
    )


def _observations(run: Path) -> Iterator[dict[str, Any]]:
    for entry in read_journal(run / "journal.jsonl"):
        if entry["kind"] == "observation" and isinstance(
            entry.get("observation"), dict
        ):
            yield entry["observation"]


def _schemas(run: Path) -> dict[str, Any]:
    import pyarrow as pa

    features: dict[str, dict[str, None]] = {name: {} for name in DERIVED}
    for seen in _observations(run):
        features["detections"].update(dict.fromkeys(seen["detections"]["features"]))
        for track in seen["tracks"]:
            features["tracks"].update(dict.fromkeys(track["features"]))
    schemas = {}
    for name, columns in _COLUMNS.items():
        fields = [*_HEAD.items(), *columns.items()]
        fields += [(_feature(name, f), "double") for f in features[name]]
        schemas[name] = pa.schema([(f, pa.type_for_alias(kind)) for f, kind in fields])
    return schemas


def _feature(table: str, name: str) -> str:
    taken = name in _HEAD or name in _COLUMNS[table]
    return f"feature_{name}" if taken else name


def _batches(
    run: Path, name: str, schemas: Mapping[str, Any]
) -> Callable[[], Iterator[Any]]:
    import pyarrow as pa

    schema = schemas[name]

    def batches() -> Iterator[Any]:
        rows: _Rows = {column: [] for column in schema.names}
        for seen in _observations(run):
            _append(name, rows, seen)
            if len(rows["t_s"]) >= _ROWS:
                yield pa.table(rows, schema=schema)
                rows = {column: [] for column in schema.names}
        if rows["t_s"]:
            yield pa.table(rows, schema=schema)

    return batches


def _append(name: str, rows: _Rows, seen: Mapping[str, Any]) -> None:
    found = seen["detections"] if name == "detections" else seen[name]
    count = len(found["label"]) if name == "detections" else len(found)
    if not count:
        return
    head = {
        "observation": seen["number"],
        "frame_id": seen["frame_ids"][-1] if seen["frame_ids"] else None,
        "t_s": seen["t_s"],
        "position": seen["view"]["position"],
        "camera": seen["view"]["camera"],
    }
    for column, value in head.items():
        rows[column].extend([value] * count)
    if name == "detections":
        values: dict[str, list[Any]] = {c: found[c] for c in _COLUMNS[name]}
        values |= {_feature(name, f): v for f, v in found["features"].items()}
    else:
        values = {c: [row[c] for row in found] for c in _COLUMNS[name]}
        if name == "tracks":
            names = dict.fromkeys(f for row in found for f in row["features"])
            for f in names:
                values[_feature(name, f)] = [row["features"].get(f) for row in found]
    for column in rows:
        if column not in head:
            rows[column].extend(values.get(column, [None] * count))


def _replace(path: Path, schema: Any, batches: Callable[[], Iterator[Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_suffix(".part")
    try:
        with pq.ParquetWriter(unfinished, schema) as writer:
            for batch in batches():
                writer.write_table(batch)
        os.replace(unfinished, path)
    except (OSError, pa.ArrowException) as error:
        unfinished.unlink(missing_ok=True)
        raise RecordError(
            f"the table {path} could not be written ({error}); check the disk; nothing "
            "is lost, the journal holds all of it"
        ) from error
    return path
