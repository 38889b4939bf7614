"""A stage whose model runs on a server that goes away in the middle of a run."""

from __future__ import annotations

import time

import numpy as np
import pytest
from tiny_onnx import folder, network, package_05

from smartscope.config import StageUse
from smartscope.core import Frame, HardwareState, ModelError, View
from smartscope.vision import build_pipeline

pytest.importorskip("grpc", reason="needs grpcio: pip install smartscope[remote]")

from test_remote import Process

SIZES = {"y": {"min": 8, "step": 4}, "x": {"min": 8, "step": 4}}


def pipeline(tmp_path, url, **more):
    decoder = {"config": {"smartscope": {"decoder": {"kind": "restored"}}}}
    folder(tmp_path / "abs", package_05(SIZES, "bcyx", **decoder))
    runtime = {"remote": url, "model": "net", "timeout_s": 5}
    stages = [{"denoise": {"model": "abs", "runtime": runtime, **more}}, "spots"]
    uses = [StageUse.model_validate(stage) for stage in stages]
    return build_pipeline(uses, seed=0, base_dir=tmp_path, channels=("A",))


def see(pipe, number):
    pixels = np.full((24, 40), 100 + number, dtype=np.uint16)
    pixels.setflags(write=False)
    state = HardwareState(channel="A")
    frame = Frame(frame_id=number, pixels=pixels, view=View(), state=state)
    return pipe.see(frame, float(number))


def test_a_server_that_goes_away_is_done_without_until_it_is_back(tmp_path):
    served = tmp_path / "served.onnx"
    served.write_bytes(network("Abs", ["b", 1, "y", "x"]))
    server, again = Process(served), None
    try:
        pipe = pipeline(tmp_path, server.url, on_failure="skip")
        pipe.warm_up((24, 40))
        assert see(pipe, 0).notes == ()
        (_, facts), *_ = pipe.models()
        assert server.url in facts["runtime"]
        server.stop()
        without = [see(pipe, 1), see(pipe, 2)]
        for seen in without:
            (note,) = seen.notes
            assert note.startswith("denoise: ") and server.url in note
            # The image goes on as it came.
            assert (seen.pictures.processed == seen.pictures.raw["A"]).all()
        again, number = Process(served, server.port), 3
        while see(pipe, number).notes and number < 100:
            number += 1
            time.sleep(0.1)
        assert see(pipe, number + 1).notes == ()
        first, last = pipe.reports()
        assert "the run goes on without" in first and "works again after" in last
    finally:
        server.stop()
        if again is not None:
            again.stop()


def test_no_server_is_known_before_the_first_frame(tmp_path):
    pipe = pipeline(tmp_path, "127.0.0.1:9", on_failure="skip")
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:9"):
        pipe.warm_up((24, 40))
