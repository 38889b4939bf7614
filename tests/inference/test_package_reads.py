"""What descriptions of both formats say of tensors, decoders and cards."""

from __future__ import annotations

import pytest
import yaml
from tiny_onnx import UNET, files, folder, network, package_04, package_05

from smartscope.core import ModelError
from smartscope.inference._axes import Axis
from smartscope.inference._card import Card, Decoder
from smartscope.inference._document import Node
from smartscope.inference._package import open_package
from smartscope.inference._rdf import Follow, open_description, read_description

ANY = {"y": {"min": 8, "step": 4}, "x": {"min": 8, "step": 4}}


def described(edit=lambda rdf: None, *, old=False, **changes):
    name = "rdf.yaml" if old else "bioimageio.yaml"
    content = package_04(**changes) if old else package_05(ANY, "bcyx", **changes)
    rdf = yaml.safe_load(content[name])
    edit(rdf)
    return read_description(Node.parse(yaml.safe_dump(rdf).encode(), name))


def axes(spec):
    return {axis.name: axis for axis in spec.layout.axes}


def space(name, size, **more):
    return {"type": "space", "id": name, "size": size} | more


BATCH = {"type": "batch"}
CHANNEL = {"type": "channel", "channel_names": ["nuclei", "membrane"]}


def test_a_real_package():
    found = open_description(open_package(UNET))
    assert found.name == "UNet 2D Nuclei Broad"
    assert axes(found.inputs[0])["y"] == Axis("y", 512)
    assert axes(found.outputs[0])["y"] == Axis("y", halo=32)
    assert [op.name for op in found.inputs[0].operations] == ["zero_mean_unit_variance"]
    assert [op.name for op in found.outputs[0].operations] == ["sigmoid"]
    assert (found.outputs[0].least, found.outputs[0].most) == (0, 1)
    assert [entry.kind for entry in found.weights] == ["onnx"]
    assert found.card.licence == "MIT" and "unet2d" in found.card.tags
    assert found.card.documentation.startswith("#")


def inputs(*axes_):
    def edit(rdf):
        rdf["inputs"][0]["axes"] = list(axes_)
        rdf["outputs"][0]["axes"] = [BATCH, {"type": "channel", "channel_names": ["a"]}]

    return described(edit).inputs[0]


def test_sizes_of_inputs():
    spec = inputs(BATCH, CHANNEL, space("y", 64), space("x", {"min": 32, "step": 16}))
    assert spec.layout.order == "bcyx" and spec.channels == ("nuclei", "membrane")
    assert spec.layout.axes == (
        Axis("b"),
        Axis("c", 2),
        Axis("y", 64),
        Axis("x", 32, 16),
    )


def test_an_input_whose_size_follows_another_axis():
    tied = {"tensor_id": "raw", "axis_id": "x", "offset": 4}
    spec = inputs(space("y", tied, scale=2), space("x", {"min": 32, "step": 16}))
    assert spec.follows == {"y": Follow("raw", "x", 0.5, 4)}
    assert spec.layout.axes == (Axis("y", 20, 8), Axis("x", 32, 16))
    assert spec.follows["y"].size(48) == 28


def test_time_and_planes():
    spec = inputs(
        {"type": "time", "size": 5}, space("z", 9), space("y", 64), space("x", 64)
    )
    assert spec.layout.order == "tzyx" and spec.layout.image_order == "czyx"
    assert axes(spec)["t"].fixed == 5


def test_pixel_sizes():
    spec = inputs(
        space("y", 64, unit="nanometer", scale=65),
        space("x", 64, unit="nanometer", scale=65),
    )
    assert spec.pixel_um == pytest.approx(0.065)


def output(given, *axes_, **more):
    def edit(rdf):
        rdf["inputs"][0]["axes"] = given
        rdf["outputs"][0]["axes"] = list(axes_)
        rdf["outputs"][0].update(more)

    return described(edit).outputs[0]


GIVEN = [BATCH, CHANNEL, space("y", {"min": 8, "step": 8}), space("x", 48)]


def follow(name, offset=0):
    return {"tensor_id": "raw", "axis_id": name, "offset": offset}


LIKE = [space("y", follow("y")), space("x", follow("x"))]


def test_sizes_of_outputs():
    spec = output(
        GIVEN,
        {"type": "channel", "channel_names": list("abcde")},
        space("y", follow("y", -4), scale=2, halo=3),
        space("x", 24),
    )
    assert spec.reference == "raw"
    assert spec.layout.axes == (
        Axis("c", 5),
        Axis("y", None, 0, 0.5, -4, 3),
        Axis("x", 24, 0, 0.5),
    )
    assert axes(spec)["y"].size_for(32) == 12


def test_an_output_that_is_larger():
    spec = output(
        GIVEN, space("y", follow("y"), scale=0.25), space("x", 96), id="large"
    )
    assert [(axis.scale, axis.offset) for axis in spec.layout.axes] == [(4, 0), (2, 0)]


def test_a_network_without_padding():
    spec = output(GIVEN, space("y", follow("y", -16)), space("x", 32))
    assert [(axis.scale, axis.offset) for axis in spec.layout.axes] == [(1, -16)] * 2


def test_an_output_that_follows_an_output():
    def edit(rdf):
        rdf["outputs"][0]["axes"] = [
            space("y", follow("y", 8), scale=2),
            space("x", follow("x"), scale=2),
        ]
        again = [
            space(n, {"tensor_id": "out", "axis_id": n, "offset": -1}, scale=4)
            for n in "yx"
        ]
        rdf["outputs"].append({"id": "small", "axes": again})

    spec = described(edit).outputs[1]
    assert axes(spec)["y"] == Axis("y", None, 0, 0.25, 3)
    assert axes(spec)["x"] == Axis("x", None, 0, 0.25, -1)
    assert spec.reference == "raw"


def test_a_vector_of_scores():
    names = {"type": "channel", "channel_names": ["interphase", "mitosis"]}
    spec = output(GIVEN, BATCH, names)
    assert spec.layout.order == "bc" and axes(spec)["c"].fixed == 2


def test_several_inputs_and_what_may_be_left_out():
    def edit(rdf):
        rdf["inputs"].append(
            {
                "id": "flat",
                "optional": True,
                "axes": [space("y", follow("y")), space("x", follow("x"))],
                "data": {
                    "type": "uint16",
                    "range": [0, 4095],
                    "unit": "arbitrary unit",
                },
            }
        )

    first, second = described(edit).inputs
    assert (first.name, first.optional, first.dtype) == ("raw", False, "float32")
    assert (second.name, second.optional, second.dtype) == ("flat", True, "uint16")
    assert (second.least, second.most, second.unit) == (0, 4095, "arbitrary unit")
    assert second.layout.axes == (Axis("y", 8, 4), Axis("x", 8, 4))


def test_channels_described_one_by_one():
    def edit(rdf):
        rdf["inputs"][0]["data"] = [
            {"type": "uint8", "range": [0, 255]},
            {"type": "uint8", "range": [-1, 9]},
        ]

    spec = described(edit).inputs[0]
    assert (spec.dtype, spec.least, spec.most) == ("uint8", -1, 255)


def test_old_sizes():
    def edit(rdf):
        rdf["inputs"][0] |= {"data_type": "uint16", "data_range": [0, float("inf")]}
        rdf["outputs"][0]["halo"] = [0, 0, 6, 7]
        rdf["outputs"][0]["shape"] |= {
            "scale": [1, 0, 0.5, 2],
            "offset": [0, 2.5, -8, 1.5],
        }

    found = described(edit, old=True)
    spec = found.inputs[0]
    assert spec.layout.axes == (
        Axis("b", 1),
        Axis("c", 1),
        Axis("y", 8, 4),
        Axis("x", 8, 4),
    )
    assert (spec.dtype, spec.least, spec.most) == ("uint16", 0, None)
    assert found.outputs[0].layout.axes == (
        Axis("b"),
        Axis("c", 5),
        Axis("y", None, 0, 0.5, -16, 6),
        Axis("x", None, 0, 2, 3, 7),
    )


def test_old_outputs_of_one_size():
    def edit(rdf):
        rdf["inputs"][0]["shape"] = [1, 1, 64, 64]
        rdf["outputs"][0]["shape"] = [1, 3, 32, 60]

    found = axes(described(edit, old=True).outputs[0])
    assert (found["c"].fixed, found["y"].scale, found["x"].offset) == (3, 0.5, -4)


def test_old_axes_that_are_new_in_the_output():
    def edit(rdf):
        rdf["outputs"][0] |= {"axes": "bczyx"}
        rdf["outputs"][0]["shape"] |= {
            "scale": [1, 1, None, 1, 1],
            "offset": [0, 0, 0.5, 0, 0],
        }

    found = described(edit, old=True).outputs[0]
    assert axes(found)["z"] == Axis("z", 1) and found.layout.order == "bczyx"


STEPS = {
    "prob_threshold": 0.48,
    "nms_threshold": 0.3,
    "n_rays": 32,
    "grid": [2, 2],
    "b": 2,
}


def rays(count=33):
    return {"type": "channel", "channel_names": [f"c{n}" for n in range(count)]}


def test_an_operation_that_names_a_decoder():
    spec = output(
        GIVEN,
        rays(),
        space("y", follow("y"), scale=2),
        space("x", 24),
        postprocessing=[
            {"id": "sigmoid"},
            {"id": "stardist_postprocessing", "kwargs": STEPS},
            {"id": "ensure_dtype", "kwargs": {"dtype": "uint16"}},
        ],
        test_tensor={"source": "labels.npy"},
    )
    wanted = Decoder("stardist", threshold=0.48, options={"grid": 2, "nms": 0.3})
    assert spec.decoder == wanted
    assert [op.name for op in spec.operations] == ["sigmoid"]
    # Labels are no output of the network.
    assert not spec.test


def test_flows():
    step = {
        "id": "cellpose_flow_dynamics",
        "kwargs": {"cellprob_threshold": 0.0, "flow_threshold": 0.4, "do_3D": False},
    }
    spec = output(GIVEN, rays(3), *LIKE, postprocessing=[step])
    assert spec.decoder == Decoder(
        "flows", threshold=0.0, options={"flow_threshold": 0.4}
    )
    step["kwargs"]["do_3D"] = True
    with pytest.raises(ModelError, match="objects in 3D are not supported"):
        output(GIVEN, rays(3), *LIKE, postprocessing=[step])


def test_stardist_in_space_is_refused():
    step = {"id": "stardist_postprocessing", "kwargs": STEPS | {"grid": [1, 2, 2]}}
    with pytest.raises(ModelError, match=r"a grid of \[1, 2, 2\] is not supported"):
        output(GIVEN, rays(), *LIKE, postprocessing=[step])


def test_the_section_stardist_writes_itself():
    found = described(config={"stardist": {"thresholds": {"nms": 0.3, "prob": 0.48}}})
    assert found.decoder == Decoder(
        "stardist", threshold=0.48, options={"grid": 1, "nms": 0.3}
    )


def decoder(**settings):
    return described(config={"smartscope": {"decoder": settings}}).decoder


DECODERS = {
    "restored": {},
    "mask": {"border_channel": 0, "distance_channel": 0},
    "stardist": {"grid": 2, "nms": 0.4, "rays_output": 0},
    "flows": {"steps": 200, "flow_threshold": 0.4, "min_size": 15},
    "spots": {"min_distance_px": 2.5, "grid": 2, "offset_channels": (0, 0)},
    "emitters": {"density": True, "upsampling": 8},
    "events": {"kind": "mitosis", "release": 0.3, "min_distance_px": 5.0, "grid": 4},
    "classes": {"names": ("interphase", "mitosis")},
}


@pytest.mark.parametrize("kind", DECODERS)
def test_decoders(kind):
    options = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in DECODERS[kind].items()
    }
    found = decoder(kind=kind, threshold=0.25, options=options)
    assert found == Decoder(kind, threshold=0.25, options=DECODERS[kind])
    if "kind" not in options:
        assert decoder(kind=kind, threshold=0.25, **options) == found


def test_a_decoder_in_one_word():
    found = described(config={"smartscope": {"decoder": "mask"}}).decoder
    assert found == Decoder("mask")


def test_a_card():
    own = {
        "version": "2.1",
        "pixel_um": 0.325,
        "object_px": 24,
        "tolerance": 0.02,
        "window": 3,
        "domain": {"mean": [100, 900]},
        "training": {"data": "DSB2018", "seed": 7},
        "decoder": {"kind": "mask", "threshold": 0.4},
    }
    found = described(
        config={"smartscope": own},
        license="CC0-1.0",
        authors=[{"name": "A. Author"}],
        cite=[{"text": "A work", "doi": "10.1000/1"}, {"url": "https://example.com"}],
        tags=["nuclei"],
        description="Nuclei.",
        version="0.1",
    ).card
    assert found == Card(
        version="2.1",
        pixel_um=0.325,
        object_px=24,
        window=3,
        tolerance=0.02,
        domain={"mean": [100, 900]},
        training={"data": "DSB2018", "seed": 7},
        decoder=Decoder("mask", threshold=0.4),
        licence="CC0-1.0",
        authors=("A. Author",),
        cite=("A work, 10.1000/1", "https://example.com"),
        tags=("nuclei",),
        description="Nuclei.",
    )


def test_networks_of_several_kinds(tmp_path):
    def edit(rdf):
        rdf["weights"]["torchscript"] = {"source": "net.pt"}
        rdf["config"] = {
            "smartscope": {"weights": [{"source": "small.onnx", "precision": "int8"}]}
        }

    content = package_05(ANY, "bcyx")
    rdf = yaml.safe_load(content["bioimageio.yaml"])
    edit(rdf)
    content |= files(rdf, content["net.onnx"])
    content |= {"net.pt": b"x", "small.onnx": network("Abs", ["b", 1, "y", "x"])}
    package = open_package(folder(tmp_path / "net", content))
    found = open_description(package).weights
    assert [(entry.kind, entry.precision) for entry in found] == [
        ("onnx", "fp32"),
        ("torchscript", "fp32"),
        ("onnx", "int8"),
    ]
    assert found[1].read(package).content == b"x"


def test_aliases_that_only_repeat_themselves_are_read():
    text = package_05(ANY, "bcyx")["bioimageio.yaml"]
    text += b"authors: &who [{name: A}]\npackaged_by: *who\n"
    assert read_description(Node.parse(text, "a")).card.authors == ("A",)


def test_known_layouts_only(tmp_path):
    from smartscope.inference import _weights

    weights = {
        "pytorch_state_dict": {
            "source": "net.onnx",
            "architecture": {"callable": "tiny_test_net", "kwargs": {"width": 4}},
        }
    }
    with pytest.raises(ModelError, match="'tiny_test_net', an architecture"):
        described(weights=weights)
    _weights.register_layout("tiny_test_net", lambda width: ("net", width))
    try:
        (entry,) = described(weights=weights).weights
        package = open_package(folder(tmp_path / "net", package_05(ANY, "bcyx")))
        read = entry.read(package)
        assert _weights.build_layout(read) == ("net", 4)
        wrong = type(read)(
            read.kind,
            *(read.content, read.file, read.sha256),
            architecture={"callable": "tiny_test_net", "kwargs": {"depth": 4}},
        )
        with pytest.raises(ModelError, match="does not take these arguments"):
            _weights.build_layout(wrong)
    finally:
        _weights._layouts.pop("tiny_test_net")
