"""The report: complete, self-contained, escaped, bounded, and right."""

from __future__ import annotations

import json
import re
import struct
import zlib
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest
from made_runs import HEADER, T0_NS, VIEW, MadeRun, cells_at, divisions_run, picture

from smartscope.config import RecordConfig
from smartscope.core import Frame, HardwareState, Nothing, SetInterval, VirtualClock
from smartscope.record import RunFolder, RunWriter
from smartscope.record._report import facts_of, write_report
from smartscope.record._report_png import cut, data_uri, png, shrunk, stretched
from smartscope.record._report_svg import clock, nice_step, thinned

if TYPE_CHECKING:
    from pathlib import Path

VOID = {"meta", "img", "br"}


class Strict(HTMLParser):
    """Notes what is not closed, and everything that points somewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(report: Path) -> tuple[Strict, str]:
    parsed = Strict()
    parsed.feed(report.read_text(encoding="utf-8"))
    parsed.close()
    assert parsed.open == []
    return parsed, " ".join(" ".join(parsed.words).split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return RunFolder(divisions_run(tmp_path_factory.mktemp("runs")))


def test_report_tells_what_happened_in_words(run: RunFolder) -> None:
    _, words = read(write_report(run))
    assert "Filmed 5 min: 85 frames, 24 of them asked for by what was seen." in words
    assert "Saw 1 mitosis event; the simulated sample made 1 in view" in words
    assert "rate_switch changed the filming rate once and returned to the plan" in words
    assert "not done: 1 rejected." in words


def test_report_needs_nothing_but_itself(run: RunFolder) -> None:
    report = write_report(run)
    parsed, _ = read(report)
    assert parsed.links
    assert all(link.startswith("data:image/png;base64,") for link in parsed.links)
    assert not parsed.tags & {"script", "link", "iframe", "object", "embed"}
    text = report.read_text(encoding="utf-8")
    assert "url(" not in text
    assert "@import" not in text


def test_what_a_run_says_is_escaped(run: RunFolder) -> None:
    text = write_report(run).read_text(encoding="utf-8")
    assert "score 0.91 &lt;b&gt;above&lt;/b&gt; 0.5" in text
    assert "demo &lt;rig&gt;" in text
    assert "<b>above" not in text


def test_name_with_markup_stays_text(tmp_path: Path) -> None:
    made = MadeRun(tmp_path, name="<script>alert(1)</script>&")
    made.film(0.0, picture([], 0), index={"t": 0})
    made.close()
    parsed, words = read(write_report(RunFolder(made.path)))
    assert "script" not in parsed.tags
    assert "<script>alert(1)</script>&" in words


def test_facts_agree_with_the_journal(run: RunFolder) -> None:
    facts = facts_of(run)
    roles = [frame.role for frame in run.frames]
    assert facts.counts.taken == len(roles) == 85
    assert facts.counts.reactions == roles.count("reaction") == 24
    assert facts.counts.unfinished == 0
    assert facts.duration_s == pytest.approx(296.0, abs=5.1)
    (times,) = facts.frames
    exposed = sorted((f.t_exposed_ns - T0_NS) / 1e9 for f in run.frames)
    both = np.sort(np.concatenate([times.baseline_s, times.reaction_s]))
    np.testing.assert_allclose(both, exposed)
    decided = [d for alike in facts.decided.alike for d in alike.first]
    assert [d.status for d in decided] == ["scheduled", "rejected", "scheduled"]
    assert (facts.decided.total, facts.decided.done) == (3, 2)
    assert facts.dose[0].dose[-1] == pytest.approx(0.03 * 85)
    assert facts.budget == 4.0


def test_reasons_that_differ_in_numbers_are_one(run: RunFolder) -> None:
    (quiet,) = facts_of(run).quiet
    assert quiet.times == 85 - 3
    assert quiet.threshold == 0.5


def test_strip_shows_the_cell_before_at_and_after(run: RunFolder) -> None:
    (event,) = facts_of(run).events
    after = [thumb.after_s for thumb in event.strip]
    assert after == sorted(after)
    assert sum(t < 0 for t in after) == 2
    assert 0.0 in after
    assert any(thumb.reaction for thumb in event.strip)
    # One common contrast, and the dividing cell in the middle of the picture.
    before = event.strip[0].pixels
    middle = before.shape[0] // 2
    assert before[middle, middle] > before[2, 2] + 50


def test_true_events_are_told_from_false_ones(run: RunFolder) -> None:
    facts = facts_of(run)
    assert [event.true for event in facts.events] == [True]
    assert facts.truth is not None
    # The second true division lies outside of every frame.
    assert (facts.truth.happened, facts.truth.found) == (1, 1)


def test_false_event_is_called_false(tmp_path: Path) -> None:
    made = divisions_run(tmp_path)
    truth = RunFolder(made).table("divisions").to_pydict()
    truth["x_um"][0] += 30.0
    (made / "tables" / "divisions.parquet").unlink()
    from smartscope.record._tables import write_table

    write_table(made, "divisions", truth)
    run = RunFolder(made)
    assert [event.true for event in facts_of(run).events] == [False]
    _, words = read(write_report(run))
    assert "0 of them found, and 1 report false" in words


def test_crashed_run_has_a_report(tmp_path: Path) -> None:
    made = divisions_run(tmp_path, close=False)
    journal = made / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-30])
    _, words = read(write_report(RunFolder(made)))
    assert "No end recorded" in words
    assert "crashed, was killed, or is still going on" in words
    assert "the last line of the journal was cut off" in words
    assert "Filmed 5 min" in words


def test_frame_without_pixels_is_left_out_of_pictures(tmp_path: Path) -> None:
    made = divisions_run(tmp_path)
    lost = [p for p in (made / "images").glob("reaction*/0/c/**/*") if p.is_file()]
    assert lost
    for chunk in lost:
        chunk.unlink()
    (event,) = facts_of(RunFolder(made)).events
    assert [thumb.reaction for thumb in event.strip] == [False] * 4
    read(write_report(RunFolder(made)))


def test_run_without_events_says_why_nothing_happened(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    for k in range(5):
        cells = cells_at(5.0 * k, 1e9)
        frame_id = made.film(5.0 * k, picture(cells, k), index={"t": k})
        seen = made.see(5.0 * k, frame_id, cells)
        why = Nothing(reason="no cell rounds up", score=0.1, threshold=0.5)
        made.decide(5.0 * k, seen, why, "")
    made.close()
    _, words = read(write_report(RunFolder(made.path)))
    assert "Saw no event." in words
    assert "most often because: no cell rounds up." in words


def test_run_without_any_frame(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.close()
    _, words = read(write_report(RunFolder(made.path)))
    assert "took no frame" in words


def test_failed_frames_and_faults_are_told(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.film(0.0, picture([], 0), index={"t": 0})
    made.writer.note("intent", {"index": {"t": 1}, "frames": 1})
    made.writer.note("intent", {"index": {"t": 2}, "frames": 3})
    fault = {"where": "acquisition", "message": "XY did not arrive", "index": {"t": 1}}
    made.writer.note("fault", fault)
    made.writer.close({"outcome": "failed", "message": "XY did not arrive"})
    facts = facts_of(RunFolder(made.path))
    assert (facts.counts.failed, facts.counts.unfinished) == (1, 3)
    _, words = read(write_report(RunFolder(made.path)))
    assert "Failed" in words
    assert "acquisition: XY did not arrive" in words


def test_earlier_report_is_replaced_whole(run: RunFolder) -> None:
    report = run.path / "report.html"
    report.write_text("old", encoding="utf-8")
    write_report(run)
    assert "</html>" in report.read_text(encoding="utf-8")
    assert [p.name for p in run.path.glob("report*")] == ["report.html"]


def long_run(parent: Path, frames: int) -> Path:
    """A run whose pixels were not kept, with a decision on every fifth frame."""
    writer = RunWriter.create(
        parent,
        "long",
        experiment_yaml="name: long\n",
        rig_yaml="name: long\n",
        header=HEADER,
        config=RecordConfig(images=False, min_free_mb=1),
        clock=VirtualClock(T0_NS),
    )
    pixels = np.zeros((4, 4), np.uint16)
    state = HardwareState(x_um=0.0, y_um=0.0, channel="FITC")
    for k in range(frames):
        t_ns = T0_NS + k * 500_000_000
        role = "reaction" if k % 3 else "baseline"
        frame = Frame(
            frame_id=k,
            pixels=pixels,
            view=VIEW,
            role=role,
            t_exposed_ns=t_ns,
            t_received_ns=t_ns + 10_000_000,
            t_published_ns=t_ns + 10_000_000,
            state=state,
            planned_s=k * 0.5,
        )
        writer.frame(frame)
        if k % 5 == 0:
            writer.note("decision", {"decision": _decision(k, t_ns)}, t_ns=t_ns)
    writer.close({"outcome": "completed", "message": "done"})
    return writer.path


def _decision(k: int, t_ns: int) -> dict[str, object]:
    view = {"position": 0, "camera": "Camera"}
    request = {
        "action_id": f"{k}.0",
        "policy": "busy",
        "view": view,
        "action": {"do": "SetInterval", "interval_s": 1.0, "reason": f"because {k}"},
        "t_decided_ns": t_ns,
        "observation": k,
    }
    head = {"number": k, "observation": k, "policy": "busy", "view": view, "error": ""}
    return {**head, "requests": [request]}


def test_ten_thousand_frames_give_a_bounded_page(tmp_path: Path) -> None:
    report = write_report(RunFolder(long_run(tmp_path, 10_000)))
    _, words = read(report)
    assert "10,000 frames" in words
    # Two thousand decisions that differ in a number are told as one, with its ends.
    assert "and 1,996 more like this" in words
    assert "because 9995" in words
    assert report.stat().st_size < 600_000


def test_many_different_decisions_are_cut_with_a_word(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    for k in range(300):
        reason = f"{'abcdefghijklmnopqrst'[k // 20]} {'abcdefghijklmnopqrst'[k % 20]}"
        made.decide(
            float(k), 0, SetInterval(interval_s=1.0, reason=reason), "scheduled"
        )
    made.close()
    _, words = read(write_report(RunFolder(made.path)))
    assert "and 100 more in journal.jsonl" in words


@pytest.mark.parametrize("status", ["shadow", "replay"])
def test_what_was_only_imagined_is_told_so(tmp_path: Path, status: str) -> None:
    made = MadeRun(tmp_path)
    action = SetInterval(interval_s=1.0, reason="a cell divides")
    made.decide(0.0, 0, action, status)
    made.close()
    _, words = read(write_report(RunFolder(made.path)))
    assert "rate_switch would have changed the filming rate once" in words
    assert "0 decisions carried out" in words
    assert "not done" not in words


# -- the small parts ----------------------------------------------------------------


def unpack(data: bytes) -> np.ndarray:
    """Decode a grey PNG with nothing of ours."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    assert (depth, colour) == (8, 0)
    at = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[at - 4 : at])
    rows = np.frombuffer(zlib.decompress(data[at + 4 : at + 4 + length]), np.uint8)
    rows = rows.reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:]


def test_png_holds_the_pixels() -> None:
    image = np.random.default_rng(1).integers(0, 256, (7, 13), dtype=np.uint8)
    np.testing.assert_array_equal(unpack(png(image)), image)
    assert data_uri(image).startswith("data:image/png;base64,iVBOR")


def test_contrast_is_common_to_all_pictures() -> None:
    bright = np.full((20, 20), 1000, np.uint16)
    bright[:10] = 100
    dim = np.full((20, 20), 550, np.uint16)
    high, low = stretched([bright, dim])
    assert (high[0, 0], high[-1, -1]) == (0, 255)
    assert low[0, 0] == pytest.approx(127, abs=2)
    assert stretched([]) == []


@pytest.mark.parametrize(
    ("y_px", "x_px", "centred"), [(20, 30, True), (0, 0, True), (-9, 30, False)]
)
def test_cut_keeps_its_size_at_the_border(
    y_px: float, x_px: float, centred: bool
) -> None:
    image = np.arange(40 * 60).reshape(40, 60)
    part, inside = cut(image, y_px, x_px, 16)
    assert part.shape == (16, 16)
    assert inside is centred
    if (y_px, x_px) == (20, 30):
        assert part[8, 8] == image[20, 30]


def test_shrunk_averages_blocks() -> None:
    image = np.arange(16.0).reshape(4, 4)
    small, step = shrunk(image, 2)
    assert step == 2
    np.testing.assert_allclose(small, [[2.5, 4.5], [10.5, 12.5]])


@pytest.mark.parametrize(
    ("t_s", "text"), [(0, "0.0 s"), (99.94, "99.9 s"), (245, "4:05"), (3729, "1:02:09")]
)
def test_clock(t_s: float, text: str) -> None:
    assert clock(t_s) == text


@pytest.mark.parametrize(
    ("span", "most", "step"), [(1.0, 5, 0.2), (7.0, 4, 2.0), (0.03, 3, 0.01), (0, 4, 1)]
)
def test_nice_step(span: float, most: int, step: float) -> None:
    assert nice_step(span, most) == pytest.approx(step)


def test_thinned_keeps_both_ends() -> None:
    kept = list(thinned(1000, 50))
    assert (kept[0], kept[-1]) == (0, 999)
    assert len(kept) == 50
    assert list(thinned(3, 50)) == [0, 1, 2]


def test_no_colour_is_used_that_the_style_does_not_define(run: RunFolder) -> None:
    text = write_report(run).read_text(encoding="utf-8")
    used = set(re.findall(r"var\(--([a-z0-9]+)\)", text))
    defined = set(re.findall(r"--([a-z0-9]+):", text))
    assert used <= defined


def test_pixels_placed_after_their_frame_was_told_are_found(tmp_path: Path) -> None:
    path = divisions_run(tmp_path)
    (before,) = facts_of(RunFolder(path)).events
    lines = [json.loads(x) for x in (path / "journal.jsonl").read_text().splitlines()]
    told = []
    for line in lines:
        told.append(line)
        if line["kind"] == "frame" and line["role"] == "reaction":
            place = {k: line[k] for k in ("frame_id", "array", "at")}
            told.append({"n": 0, "kind": "placed", "t_ns": line["t_ns"], **place})
            line |= {"array": None, "at": []}
    text = "".join(json.dumps(line) + "\n" for line in told)
    (path / "journal.jsonl").write_text(text)
    (after,) = facts_of(RunFolder(path)).events
    assert [t.reaction for t in after.strip] == [t.reaction for t in before.strip]
    assert any(t.reaction for t in after.strip)
    for one, other in zip(before.strip, after.strip, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
