"""Building a pipeline: what is refused, and with which sentence."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from vision_fields import field, frame, pipeline

from smartscope.core import ConfigError, PolicyError
from smartscope.vision import Stage, list_stages, load_stage_class

TRACKED = ("segment", "measure", "track")
WRONG = {
    "stage": (
        [{"segmnt": {}}],
        "vision.0.segmnt: unknown stage 'segmnt'; did you mean 'segment'?",
    ),
    "stage like none": (
        [{"xyz": {}}],
        "unknown stage 'xyz'; known: appearance, background, ",
    ),
    "field": (
        [{"segment": {"methd": "otsu"}}],
        "vision.0.segment.methd: unknown field of .* 'methd'; did you mean 'method'?",
    ),
    "choice": (
        [{"segment": {"method": "ostu"}}],
        "vision.0.segment.method: found 'ostu', .*; did you mean 'otsu'?",
    ),
    "number": (
        ["segment", {"track": {"max_distance_um": -1}}],
        "vision.1.track.max_dist.*found -1",
    ),
    "channel": (
        [{"segment": {"on": {"channel": "FITK"}}}],
        "vision.0.segment.on.channel: unknown channel 'FITK'; did you mean 'FITC'?",
    ),
    "channel in a list": (
        [{"measure": {"on": {"channel": ["FITC", "DAPI"]}}}],
        "unknown channel 'DAPI'; known: FITC",
    ),
    "plane": (
        [{"segment": {"on": {"z": "median"}}}],
        "vision.0.segment.on.z: z must be 'max'",
    ),
    "key of on": (
        [{"segment": {"on": {"chanel": "FITC"}}}],
        "vision.0.segment.on.chanel",
    ),
    "track without objects": (
        ["track"],
        "'track' needs objects.*put 'segment' or 'spots'",
    ),
    "mitosis without tracks": (
        ["segment", "mitosis"],
        "'mitosis' needs tracks.*put 'track'",
    ),
    "measure after track": (
        ["segment", "track", "measure"],
        "put 'measure' before 'track'",
    ),
    "feature": (
        [*TRACKED, {"event": {"kind": "spike", "feature": "mean_FITK", "above": 2}}],
        "unknown feature 'mean_FITK'; did you mean 'mean_FITC'?",
    ),
    "mitosis without measure": (
        ["segment", "track", "mitosis"],
        "have 'measure' make it",
    ),
    "level without method": (
        [{"segment": {"level": 5}}],
        "'level' belongs to method 'threshold'",
    ),
    "event without side": (
        [*TRACKED, {"event": {"kind": "spike", "feature": "score"}}],
        "exactly one of 'above' and 'below'",
    ),
    "flat field file": (
        [{"illumination": {"file": "none.npy"}}],
        "none.npy cannot be read",
    ),
    "no such file": (["nowhere.py"], "there is no file .*nowhere.py"),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_sentence_each(name, tmp_path):
    stages, expected = WRONG[name]
    with pytest.raises(ConfigError) as caught:
        pipeline(*stages, base_dir=tmp_path)
    assert re.search(expected.replace("?", r"\?"), str(caught.value))
    assert "\n" not in str(caught.value)


def test_a_plan_without_channels_names_none():
    with pytest.raises(ConfigError, match="the plan names no channels"):
        pipeline({"segment": {"on": {"channel": "FITC"}}}, channels=())


def test_a_channel_called_by_a_number():
    pipe = pipeline({"measure": {"on": {"channel": 488, "z": 3}}}, channels=("488",))
    seen = pipe.see(
        frame(np.ones((8, 8), np.uint16), channel="488", index={"z": 3}), 0.0
    )
    assert seen.measurements["background_488"] == 1


MINE = '''
from __future__ import annotations

import numpy as np

from smartscope.vision import Stage, StageConfig


class Brightest(Stage):
    """Brightest share of the pixels."""

    class Config(StageConfig):
        share: float = 0.01

    def start(self, view):
        return {"frames": 0}

    def process(self, work, state):
        state["frames"] += 1
        level = np.quantile(work.image(self.input), 1 - self.config.share)
        work.measurements["brightest"] = float(level)
        work.measurements["frames"] = state["frames"]
'''


def test_a_stage_of_the_users_own_from_a_file(tmp_path):
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    pipe = pipeline("segment", {"mine.py": {"share": 0.5}}, base_dir=tmp_path)
    assert pipe.stages == ("segment", "mine.py")
    pipe.see(frame(field([(50, 50)]), 0), 0.0)
    seen = pipe.see(frame(field([(50, 50)]), 1), 5.0)
    assert seen.measurements["brightest"] == pytest.approx(100, abs=2)
    assert seen.measurements["frames"] == 2
    with pytest.raises(ConfigError, match="did you mean 'share'"):
        pipeline({"mine.py": {"shar": 0.5}}, base_dir=tmp_path)


def test_several_stages_in_a_file(tmp_path):
    two = MINE + "\n\nclass Other(Brightest):\n    pass\n"
    (tmp_path / "two.py").write_text(two, encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"found Brightest, Other; write two.py:ClassName"
    ):
        pipeline("two.py", base_dir=tmp_path)
    assert load_stage_class("two.py:Other", tmp_path).__name__ == "Other"
    with pytest.raises(ConfigError, match="did you mean 'Other'"):
        load_stage_class("two.py:Othr", tmp_path)


BROKEN = {
    "syntax": ("def (", "SyntaxError"),
    "import": ("import not_there_at_all", "ModuleNotFoundError"),
    "empty": ("x = 1", "must hold one subclass of Stage, found none"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(name, tmp_path):
    text, expected = BROKEN[name]
    (tmp_path / "broken.py").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=expected):
        pipeline("broken.py", base_dir=tmp_path)


def test_a_stage_that_raises_is_named(tmp_path):
    text = MINE.replace('state["frames"] += 1', "raise KeyError('gone')")
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    pipe = pipeline("mine.py", base_dir=tmp_path)
    with pytest.raises(
        PolicyError, match=r"vision stage 'mine.py' failed on frame 7.*gone"
    ):
        pipe.see(frame(field([]), 7), 0.0)


def test_a_flat_field_of_the_wrong_size_is_named(tmp_path):
    np.save(tmp_path / "flat.npy", np.ones((5, 5)))
    pipe = pipeline({"illumination": {"file": "flat.npy"}}, base_dir=tmp_path)
    with pytest.raises(PolicyError, match=r"'illumination' failed.*\(5, 5\)"):
        pipe.see(frame(field([])), 0.0)


def test_every_shipped_stage_says_what_it_does():
    found = list_stages()
    for name in ("background", "illumination", "denoise", "segment", "spots"):
        assert found[name]
    for name in found:
        cls = load_stage_class(name, Path())
        assert issubclass(cls, Stage)
        text = "".join(base.__doc__ or "" for base in cls.Config.__mro__)
        for key in cls.Config.model_fields:
            assert key in text or key == "on"


def test_light_to_import():
    code = "import smartscope.vision, sys; print('pymmcore_plus' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
