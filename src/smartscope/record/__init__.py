"""What a run leaves on disk: written without loss, readable after a crash.

A run folder holds ``experiment.yaml``, ``rig.yaml``, ``journal.jsonl``,
``images/NAME.ome.zarr`` (OME-Zarr 0.5 with NGFF labels), ``tables/NAME.parquet`` and
``report.html``. The journal is the truth about which frames exist and why; its lines
are ``{"n": 0, "kind": ..., "t_ns": ..., ...}``. `RunWriter` writes these kinds:

===============  ==================================================================
``run``          the header: name, start, versions, hashes; always the first line
``frame``        the fields of `core.Frame` but its pixels, and ``array`` and ``at``:
                 the image that holds them and the index in it
``observation``  ``observation``: an encoded `core.Observation`; ``stamps``
``labels``       ``frame_ids``, ``array``, ``at``: where a label image lies
``decision``     ``decision``: an encoded `core.Decision`
``outcome``      ``outcome``: an encoded `core.Outcome`
``kept``         a policy asked for frames (``record.keep: asked``): ``action_id``,
                 ``frames`` that were in memory, ``from_ns`` and ``to_ns`` (run clock),
                 ``missing_s`` of which the frames were gone
``placed``       ``frame_id``, ``array``, ``at``: where a frame went that was asked for;
                 its ``frame`` entry, told before, has no array
``fault``        ``where``, ``message``, and ``lost_frames`` if pixels were lost
``end``          how it ended; always the last line, absent after a crash
===============  ==================================================================

Any further kind is written through `RunWriter.note`; the core types in it are encoded.
"""

from smartscope.record._export import export_ome_tiff
from smartscope.record._folder import FrameRecord, Images, RunFolder
from smartscope.record._intake import RecordCounts
from smartscope.record._journal import Journal, read_journal
from smartscope.record._layout import (
    ImageLayout,
    check_disk_space,
    forecast_bytes,
    free_bytes,
)
from smartscope.record._recording import RecordingReader, open_recording
from smartscope.record._report import write_report
from smartscope.record._report_timing import latency_steps
from smartscope.record._tables import rebuild_tables
from smartscope.record._trace import write_trace
from smartscope.record._writer import RunWriter

__all__ = [
    "FrameRecord",
    "ImageLayout",
    "Images",
    "Journal",
    "RecordCounts",
    "RecordingReader",
    "RunFolder",
    "RunWriter",
    "check_disk_space",
    "export_ome_tiff",
    "forecast_bytes",
    "free_bytes",
    "latency_steps",
    "open_recording",
    "read_journal",
    "rebuild_tables",
    "write_report",
    "write_trace",
]
