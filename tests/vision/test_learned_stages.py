"""Models in the loop: channels, planes, windows, sizes, failures, order."""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pytest
from learned_nets import FIRST, conv, identity, package, plain
from vision_fields import field, frame, pipeline

from smartscope.core import ConfigError, ModelError, PixelMap, View
from smartscope.core.codec import decode, dump, encode
from smartscope.core.geometry import UNCALIBRATED
from smartscope.core.observation import Observation

FAST = {"runtime": "onnxruntime", "threads": 1}
FINE = PixelMap(((0.5, 0.0), (0.0, 0.5)), (0.0, 0.0))


def noise(seed, shape=(30, 40)):
    return np.random.default_rng(seed).integers(10, 900, shape).astype(np.uint16)


def same(a, b):
    """Whether two observations are the same, bit by bit."""
    return encode(a) == encode(b) and all(
        (x is None and y is None) or np.array_equal(x, y)
        for x, y in (
            (a.pictures.labels, b.pictures.labels),
            (a.pictures.processed, b.pictures.processed),
        )
    )


# ------------------------------------------------------------------ channels, planes


def shots(images, **more):
    """Frames of one group, one for each channel or plane."""
    return [
        frame(
            image,
            number,
            channel=channel,
            index={"t": 0, "c": c} | ({} if z is None else {"z": z}),
            group=("t", 0),
            last_of_group=number == len(images) - 1,
            **more,
        )
        for number, (channel, c, z, image) in enumerate(images)
    ]


def test_channels_come_in_the_order_of_on(tmp_path):
    # Second minus first: the order shows.
    net = conv([[[[-1.0]], [[1.0]]]])
    model = package(tmp_path / "net", net, {"kind": "restored"}, channels=2)
    a, b = noise(0), noise(1)
    for order, expected in ((["A", "B"], b - a.astype(float)), (["B", "A"], None)):
        use = {"model": model, "on": {"channel": order}} | FAST
        spots = {"on": {"channel": order[0]}}
        pipe = pipeline({"denoise": use}, {"spots": spots}, channels=("A", "B"))
        seen = None
        for shot in shots([("A", 0, None, a), ("B", 1, None, b)]):
            seen = pipe.see(shot, 0.0) or seen
        wanted = -(b - a.astype(float)) if expected is None else expected
        assert np.array_equal(seen.pictures.processed, wanted)
        assert np.array_equal(seen.pictures.raw["A"], a)


def test_a_stack_reaches_the_model_in_the_order_of_the_plan(tmp_path):
    path = plain(tmp_path / "net.onnx", "Identity", (1, 1, 3, "y", "x"))
    use = {"model": {"path": path, "axes": "bczyx"}, "on": {"z": "all"}} | FAST
    probe = {"spots": {"on": {"z": "all"}, "model": {"path": path, "axes": "bczyx"}}}
    pipe = pipeline({"denoise": use}, probe)
    planes = [noise(n) for n in range(3)]
    stack = [("FITC", 0, z, planes[z]) for z in (2, 0, 1)]
    answers = [pipe.see(shot, 0.0) for shot in shots(stack)]
    assert answers[0] is None and answers[1] is None
    # Spots are found in the maximum over the planes, and that is shown.
    top = np.max(planes, axis=0)
    assert np.array_equal(answers[2].pictures.processed, top)
    assert np.array_equal(answers[2].pictures.raw["FITC"], top)
    assert answers[2].frame_ids == (0, 1, 2)
    short = shots([("FITC", 0, 0, planes[0]), ("FITC", 0, 1, planes[1])])
    pipe.see(short[0], 1.0)
    with pytest.raises(ModelError, match="frame"):
        for shot in shots([("FITC", 0, z, noise(z)) for z in range(5)]):
            pipe.see(shot, 2.0)


def test_a_frame_alone_is_a_stack_of_one(tmp_path):
    path = plain(tmp_path / "net.onnx", "Identity", (1, 1, "z", "y", "x"))
    use = {"model": {"path": path, "axes": "bczyx"}, "on": {"z": "all"}} | FAST
    seen = pipeline({"spots": use}).see(frame(noise(0), last_of_group=True), 0.0)
    assert np.array_equal(seen.pictures.processed, noise(0))


def test_channels_of_two_sizes_are_refused(tmp_path):
    net = conv(np.ones((1, 2, 1, 1)))
    model = package(tmp_path / "net", net, {"kind": "restored"}, channels=2)
    use = {"model": model, "on": {"channel": ["A", "B"]}} | FAST
    pipe = pipeline({"denoise": use}, channels=("A", "B"))
    images = [("A", 0, None, noise(0)), ("B", 1, None, noise(1, (20, 40)))]
    first, second = shots(images)
    pipe.see(first, 0.0)
    with pytest.raises(ModelError, match=r"A 30 x 40, B 20 x 40.*one ROI"):
        pipe.see(second, 0.0)


# ------------------------------------------------------------------------- windows


def windowed(tmp_path, weights=(1, 10, 100), kind="restored"):
    """A model of three frames that adds them up with these weights."""
    net = conv(np.reshape(weights, (1, 3, 1, 1)))
    decoder = {"kind": kind} | ({"kind": "events"} if kind == "events" else {})
    return package(tmp_path / f"w{kind}", net, decoder, channels=3, window=3)


def flat(level, shape=(12, 16)):
    return np.full(shape, level, dtype=np.uint16)


def levels(pipe, shown):
    """What the window gave for frames of ``(level, changes)``."""
    found = []
    for number, (level, changes) in enumerate(shown):
        seen = pipe.see(frame(flat(level), number, **changes), float(number))
        found.append(float(seen.pictures.processed[0, 0]))
    return found


HERE, THERE = {"stage": (0.0, 0.0)}, {"stage": (50.0, 0.0)}
WINDOWS = {
    "the first is repeated": (
        [(1, HERE), (2, HERE), (3, HERE), (4, HERE)],
        [111, 211, 321, 432],
    ),
    "a long film": (
        [(n, HERE) for n in range(1, 10)],
        [111, 211, *(100 * n + 10 * (n - 1) + n - 2 for n in range(3, 10))],
    ),
    "a jump": (
        [(1, HERE), (2, HERE), (3, THERE), (4, THERE)],
        [111, 211, 333, 433],
    ),
    "a small drift is none": (
        [(1, HERE), (2, {"stage": (1.5, 0.0)}), (3, {"stage": (3.0, 0.0)})],
        [111, 211, 321],
    ),
    "moving": (
        [(1, HERE), (2, HERE | {"moving": True}), (3, HERE), (4, HERE)],
        [111, 222, 333, 433],
    ),
    "another size": (
        [(1, HERE), (2, HERE | {"pixel_map": FINE}), (3, HERE | {"pixel_map": FINE})],
        [111, 222, 322],
    ),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_the_window_holds_the_past_and_never_the_future(name, tmp_path):
    shown, expected = WINDOWS[name]
    pipe = pipeline({"denoise": {"model": windowed(tmp_path)} | FAST}, "spots")
    assert levels(pipe, shown) == expected


def test_each_view_has_a_window_of_its_own(tmp_path):
    pipe = pipeline({"denoise": {"model": windowed(tmp_path)} | FAST}, "spots")
    views = [{"view": View(n)} for n in (0, 1)]
    shown = [(1, views[0]), (5, views[1]), (2, views[0]), (6, views[1])]
    assert levels(pipe, shown) == [111, 555, 211, 655]
    pipe.forget(View(0))
    assert levels(pipe, [(3, views[0])]) == [333]


def test_the_window_counts_channels(tmp_path):
    with pytest.raises(
        ConfigError, match=r"wants 1 channel in each of 3 frames.*gets 2"
    ):
        use = {"model": windowed(tmp_path), "on": {"channel": ["A", "B"]}} | FAST
        pipeline({"denoise": use}, channels=("A", "B"))


# -------------------------------------------------------------------------- events


def blob(at, height, shape=(60, 80)):
    y, x = np.indices(shape)
    off = (y - at[0]) ** 2 + (x - at[1]) ** 2
    return np.rint(height * np.exp(-off / 18)).astype(np.uint16)


def happening(tmp_path, **more):
    """Newest minus oldest of three frames, in thousands."""
    net = conv(np.reshape([-0.001, 0, 0.001], (1, 3, 1, 1)))
    decoder = {"kind": "events", "threshold": 0.5, "min_distance_px": 8} | more
    return package(tmp_path / "events", net, decoder, channels=3, window=3)


def test_events_begin_last_and_end_in_the_sample(tmp_path):
    use = {"model": happening(tmp_path), "kind": "flash"} | FAST
    heights = [0, 0, 0, 800, 800, 800, 800, 800]
    # The film shows it three times brighter only for two frames after its onset.
    pipe = pipeline({"event": use})
    told = []
    for number, height in enumerate(heights):
        image = blob((20, 50), height)
        seen = pipe.see(frame(image, number, stage=(10.0, 0.0), pixel_map=FINE), number)
        told.append([(e.event_id, e.kind, e.state, e.onset_s) for e in seen.events])
        for event in seen.events:
            assert (event.x_um, event.y_um) == pytest.approx((35, 10), abs=0.05)
            assert 0 <= event.score <= 1 and event.track_id is None
    first = (1, "flash", "onset", 3.0)
    assert told == [
        *([], [], []),
        [first],
        [(1, "flash", "active", 3.0)],
        [(1, "flash", "ended", 3.0)],
        *([], []),
    ]


def test_an_event_knows_the_nearest_track(tmp_path):
    use = {"model": happening(tmp_path, kind="events"), "max_distance_um": 6} | FAST
    pipe = pipeline(
        {"segment": {"min_area_um2": 2}},
        {"track": {"min_frames": 1}},
        {"event": use | {"kind": "flash"}},
    )
    still = [(20, 20), (40, 60)]
    base = field(still, shape=(60, 80), radius=4)
    for number in range(4):
        seen = pipe.see(frame(base, number), float(number))
    bright = (base + blob((40, 60), 900)).astype(np.uint16)
    seen = pipe.see(frame(bright, 4), 4.0)
    (event,) = seen.events
    near = {t.track_id: np.hypot(t.x_um - 60, t.y_um - 40) for t in seen.tracks}
    assert event.track_id == min(near, key=near.get)
    assert near[event.track_id] < 1


def test_what_went_on_in_a_field_that_is_left_ends(tmp_path):
    pipe = pipeline({"event": {"model": happening(tmp_path), "kind": "flash"} | FAST})
    states = []
    for number, stage in enumerate([0, 0, 0, 300, 300]):
        image = blob((20, 50), 800 if number >= 1 else 0)
        seen = pipe.see(frame(image, number, stage=(float(stage), 0.0)), float(number))
        states.append([(e.event_id, e.state) for e in seen.events])
    assert states == [[], [(1, "onset")], [(1, "active")], [(1, "ended")], []]


def test_an_event_needs_a_name(tmp_path):
    with pytest.raises(ConfigError, match=r"vision.0.event.kind: .*give 'kind'"):
        pipeline({"event": {"model": happening(tmp_path)} | FAST})
    with pytest.raises(ConfigError, match="unknown field of 'event' 'feature'"):
        pipeline({"event": {"model": "x", "feature": "area_um2"}})


# --------------------------------------------------------------------------- sizes


def test_the_image_is_resized_to_what_the_model_knows(tmp_path):
    image = np.zeros((60, 80), dtype=np.uint16)
    image[10:30, 20:44] = 1
    # Frames of 0.5 um, a model of 1 um: it is given 30 x 40 pixels, no more.
    net = conv(FIRST, size=(30, 40))
    size = {"y": 30, "x": 40}
    model = package(tmp_path / "net", net, {"kind": "mask"}, size=size, pixel_um=1.0)
    use = {"model": model, "scale": "auto", "min_area_um2": 1} | FAST
    seen = pipeline({"segment": use}).see(frame(image, pixel_map=FINE), 0.0)
    assert seen.pictures.labels.shape == image.shape
    overlap = (seen.pictures.labels > 0) == (image > 0)
    assert overlap.mean() > 0.98
    assert seen.detections.area_um2[0] == pytest.approx(120, rel=0.1)
    with pytest.raises(ModelError, match="needs the pixel size, and the frames have"):
        pipeline({"segment": use}).see(frame(image, pixel_map=UNCALIBRATED), 0.0)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_points_come_back_to_the_image(scale, tmp_path):
    y, x = np.indices((60, 80))
    image = 900 * np.exp(-((y - 20.3) ** 2 + (x - 50.6) ** 2) / 18)
    model = package(tmp_path / "net", conv([[[[0.001]]]]), {"kind": "spots"})
    use = {"model": model, "scale": scale, "radius_um": 2} | FAST
    found = pipeline({"spots": use}).see(frame(np.rint(image).astype("u2")), 0.0)
    (y_px,), (x_px,) = found.detections.y_px, found.detections.x_px
    assert (y_px, x_px) == pytest.approx((20.3, 50.6), abs=0.1)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_restored_image_has_the_size_of_the_camera(scale, tmp_path):
    model = package(tmp_path / "net", conv(FIRST), {"kind": "restored"})
    use = {"model": model, "scale": scale} | FAST
    image = np.rint(field([(20, 30)], shape=(40, 60), noise=0)).astype("u2")
    seen = pipeline({"denoise": use}, "spots").see(frame(image), 0.0)
    assert seen.pictures.processed.shape == (40, 60)
    off = np.abs(seen.pictures.processed - image)
    assert np.median(off) < 1


# ------------------------------------------------------------------------ failures


def fragile(tmp_path, **more):
    """The logarithm of 1000 - x: not finite where the image is brighter."""
    path = tmp_path / "log.onnx"
    path.write_bytes(conv([[[[-1.0]]]], [1000.0], then=["Log"]))
    return {"model": str(path), **more} | FAST


def glare(shape=(30, 40)):
    return flat(2000, shape)


def test_a_model_that_fails_stops_the_run(tmp_path):
    pipe = pipeline({"segment": fragile(tmp_path)})
    pipe.see(frame(noise(0), 0), 0.0)
    with pytest.raises(ModelError, match=r"'segment' failed on frame 1: .*not finite"):
        pipe.see(frame(glare(), 1), 1.0)


def test_a_model_that_fails_is_left_out_and_that_is_said_once(tmp_path, caplog):
    use = fragile(tmp_path, on_failure="skip", min_area_um2=1)
    pipe = pipeline({"segment": use}, "measure", "track")
    images = [noise(0), glare(), glare(), noise(1), noise(2)]
    with caplog.at_level(logging.WARNING, logger="smartscope.vision"):
        told = [pipe.see(frame(im, n), float(n)) for n, im in enumerate(images)]
    assert [len(seen.notes) for seen in told] == [0, 1, 1, 0, 0]
    assert "not finite" in told[1].notes[0]
    assert told[1].notes[0].startswith("segment: ")
    assert [len(seen.detections) > 0 for seen in told] == [1, 0, 0, 1, 1]
    assert told[1].pictures.labels is None
    reports = pipe.reports()
    assert reports == [record.getMessage() for record in caplog.records]
    assert len(reports) == 2
    assert "the model failed, the run goes on without" in reports[0]
    assert "log works again after 2 frames without it" in reports[1]
    assert pipe.reports() == []


def test_every_stage_can_go_on_without_its_model(tmp_path):
    bare = fragile(tmp_path, on_failure="skip")
    pooled = conv([[[[-1.0]]]], [1000.0], then=["Log", "GlobalAveragePool", "Flatten"])
    classes = package(tmp_path / "cl", pooled, {"kind": "classes"}, vector=True, size=8)
    stages = [
        {"denoise": bare},
        {"spots": bare},
        {"detect": bare},
        {"localise": bare},
        "segment",
        {"classify": bare | {"model": classes}},
        {"event": bare | {"kind": "flash"}},
    ]
    seen = pipeline(*stages).see(frame(glare((40, 40))), 0.0)
    names = [note.split(":")[0] for note in seen.notes]
    assert names == ["denoise", "spots", "detect", "localise", "event"]
    image = np.zeros((60, 60), dtype=np.uint16)
    image[20:40, 20:40] = 2000
    last = pipeline("segment", stages[5]).see(frame(image), 0.0)
    assert len(last.detections) == 1 and last.detections.features == {}
    assert last.notes[0].startswith("classify: ")


def test_notes_survive_the_journal(tmp_path):
    pipe = pipeline({"segment": fragile(tmp_path, on_failure="skip")})
    seen = pipe.see(frame(glare()), 0.0)
    again = decode(Observation, encode(seen))
    assert again.notes == seen.notes and len(seen.notes) == 1
    assert dump(again) == dump(seen)


# ---------------------------------------------------------------- warm-up, the facts


def test_a_late_preparation_is_told_once_for_each_size(tmp_path):
    model = package(tmp_path / "net", conv(FIRST), {"kind": "restored"})
    pipe = pipeline({"denoise": {"model": model} | FAST})
    pipe.warm_up((30, 40))
    assert pipe.reports() == []
    for number, shape in enumerate([(30, 40), (20, 20), (20, 20), (30, 40), (20, 20)]):
        pipe.see(frame(noise(number, shape), number), float(number))
    (report,) = pipe.reports()
    assert "denoise: net was made ready for 20 x 20 pixels in the middle" in report


def test_what_a_model_does_not_take_is_known_before_the_first_frame(tmp_path):
    net = conv(FIRST, then=["GlobalAveragePool", "Flatten"])
    model = package(tmp_path / "net", net, {"kind": "classes"}, vector=True, size=32)
    pipe = pipeline(
        {"classify": {"model": model, "each": "image", "on_failure": "skip"} | FAST}
    )
    pipe.warm_up((20, 30))
    with pytest.raises(ModelError, match="the image is 60 x 60 pixels"):
        pipe.warm_up((60, 60))


def test_warm_up_knows_planes_and_pixel_size(tmp_path):
    stack = plain(tmp_path / "net.onnx", "Identity", (1, 1, 3, "y", "x"))
    on = {"on": {"z": "all"}, "model": {"path": stack, "axes": "bczyx"}}
    pipe = pipeline({"spots": on | FAST})
    pipe.warm_up((30, 40), planes=3)
    for shot in shots([("FITC", 0, z, noise(z)) for z in range(3)]):
        seen = pipe.see(shot, 0.0)
    assert seen is not None and pipe.reports() == []
    model = package(tmp_path / "net", conv(FIRST), {"kind": "restored"}, pixel_um=1.0)
    pipe = pipeline({"denoise": {"model": model, "scale": "auto"} | FAST})
    pipe.warm_up((30, 40), pixel_map=FINE)
    pipe.see(frame(noise(0), pixel_map=FINE), 0.0)
    assert pipe.reports() == []


def test_what_is_known_of_the_models(tmp_path):
    model = package(tmp_path / "net", conv(FIRST), {"kind": "restored"}, version="1.2")
    denoise = {"denoise": {"model": model} | FAST}
    pipe = pipeline(denoise, denoise, "spots")
    pipe.warm_up((30, 40))
    facts = dict(pipe.models())
    assert list(facts) == ["denoise", "denoise_2"]
    assert facts["denoise"]["version"] == "1.2"
    assert "onnxruntime" in facts["denoise_2"]["runtime"]
    pipe.see(frame(noise(0)), 0.0)
    assert set(pipe.costs) == {"denoise.model", "denoise_2.model"}
    assert all(cost > 0 for cost in pipe.costs.values())
    assert pipeline("segment").models() == ()


# ------------------------------------------------------------------ orders, sameness


def every_order(tmp_path):
    """Sensible pipelines: classical and learned stages in all orders."""
    restore = package(tmp_path / "r", conv(FIRST), {"kind": "restored"})
    mask = package(tmp_path / "m", conv([[[[0.01]]]], [-2.0]), {"kind": "mask"})
    heat = package(tmp_path / "h", conv([[[[0.01]]]], [-2.0]), {"kind": "spots"})
    learned = {"denoise": {"model": restore} | FAST}
    corrections = [
        *itertools.permutations(["background", learned], 2),
        *itertools.permutations([{"denoise": {"sigma_um": 1}}, learned], 2),
        (learned,),
        (),
    ]
    finders = [
        ["segment"],
        [{"segment": {"model": mask} | FAST}],
        [{"detect": {"model": mask} | FAST}],
        [{"detect": {"model": heat} | FAST}],
        [{"spots": {"model": heat, "radius_um": 5} | FAST}],
        [{"localise": {"model": heat, "radius_um": 5} | FAST}],
        [{"spots": {"radius_um": 5}}],
    ]
    ends = [["measure", "track"], ["track"]]
    for before, finder, end in itertools.product(corrections, finders, ends):
        yield [*before, *finder, *end]


def test_every_order_of_classical_and_learned_stages(tmp_path):
    points = [(40, 50), (80, 120), (120, 60)]
    images = [field(points, seed=n) for n in range(2)]
    for stages in every_order(tmp_path):
        pipe = pipeline(*stages)
        for number, image in enumerate(images):
            seen = pipe.see(frame(image, number), float(number))
            found = seen.detections
            at = np.column_stack([found.y_px, found.x_px])
            for point in points:
                assert np.hypot(*(at - point).T).min() < 4, stages
        assert len(seen.tracks) >= 3
        assert seen.notes == ()


def test_the_same_frames_give_the_same_observations(tmp_path):
    stages = [
        {"denoise": {"model": windowed(tmp_path, (0.2, 0.3, 0.5))} | FAST},
        "segment",
        "track",
        {"event": {"model": happening(tmp_path), "kind": "flash"} | FAST},
    ]
    film = [field([(30, 40), (50 + n, 70)], seed=n) for n in range(6)]

    def run():
        pipe = pipeline(*stages)
        return [
            pipe.see(frame(image, number), float(number))
            for number, image in enumerate(film)
        ]

    first, second = run(), run()
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    # A warm-up leaves no trace, and what was seen is not overwritten later.
    pipe = pipeline(*stages)
    pipe.warm_up(film[0].shape)
    third = [pipe.see(frame(im, n), float(n)) for n, im in enumerate(film)]
    assert all(same(a, b) for a, b in zip(first, third, strict=True))


def test_channels_of_an_identity(tmp_path):
    net = conv(identity(2))
    model = package(tmp_path / "two", net, {"kind": "restored"}, channels=2, out=2)
    use = {"model": {"path": model, "channel": 1}, "on": {"channel": ["A", "B"]}}
    pipe = pipeline({"denoise": use | FAST}, "spots", channels=("A", "B"))
    a, b = noise(0), noise(1)
    for shot in shots([("A", 0, None, a), ("B", 1, None, b)]):
        seen = pipe.see(shot, 0.0)
    assert np.array_equal(seen.pictures.processed, b)
