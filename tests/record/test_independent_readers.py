"""What we write, opened by programs that know nothing of us."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tensorstore as ts
import tifffile
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models import open_ome_zarr
from ome_zarr_models.v05.image import Image
from ome_zarr_models.v05.image_label import ImageLabel
from record_helpers import layout, make_frame, make_writer, observation, pixels

from smartscope.core import ConfigError
from smartscope.record import RunFolder, RunWriter, export_ome_tiff, open_recording

if TYPE_CHECKING:
    from pathlib import Path

PLAN = {"t": 3, "c": 2, "z": 2}


def fill(writer: RunWriter) -> dict[tuple[int, ...], Any]:
    sent = {}
    for k, (t, c, z) in enumerate(np.ndindex(3, 2, 2)):
        image = pixels(k)
        sent[t, c, z] = image
        writer.frame(make_frame(k, image, index={"t": t, "c": c, "z": z}))
        if c == z == 1:
            labels = np.full((24, 32), t + 1, np.int32)
            writer.observed(observation(t, (k,), labels=labels))
    for k in range(12, 17):
        writer.frame(make_frame(k, pixels(k, (8, 9), "uint8"), role="stream"))
    return sent


@pytest.fixture(scope="module", params=["zstd", "none"])
def run(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> RunFolder:
    plan = layout(sizes=PLAN, z_step_um=1.5, position_name="well A1")
    parent = tmp_path_factory.mktemp("runs")
    writer = make_writer(parent, [plan], compression=request.param)
    fill(writer)
    writer.close({})
    return RunFolder(writer.path)


def image_path(run: RunFolder, name: str) -> Path:
    return run.path / "images" / f"{name}.ome.zarr"


def test_zarr_reads_the_same_pixels(run: RunFolder) -> None:
    group = zarr.open_group(image_path(run, "pos0"), mode="r")
    array = np.asarray(group["0"])
    for k, at in enumerate(np.ndindex(3, 2, 2)):
        np.testing.assert_array_equal(array[at], pixels(k))
    labels = np.asarray(group["labels/objects/0"])
    assert labels.shape == (3, 2, 24, 32)
    assert [int(labels[t, 1].max()) for t in range(3)] == [1, 2, 3]
    stream = zarr.open_array(image_path(run, "stream-camera-8x9-uint8") / "0", mode="r")
    assert (stream.shape, stream.dtype) == ((5, 8, 9), np.uint8)
    for k in range(5):
        np.testing.assert_array_equal(stream[k], pixels(12 + k, (8, 9), "uint8"))


def test_tensorstore_reads_the_same_pixels(run: RunFolder) -> None:
    path = image_path(run, "pos0") / "0"
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
    array = ts.open(spec, read=True).result()
    assert array.domain.labels == ("t", "c", "z", "y", "x")
    np.testing.assert_array_equal(array[2, 1, 1].read().result(), pixels(11))


def test_ome_zarr_finds_images_and_labels(run: RunFolder) -> None:
    location = parse_url(image_path(run, "pos0"), mode="r")
    assert location is not None
    nodes = list(Reader(location)())
    first = nodes[0]
    np.testing.assert_array_equal(np.asarray(first.data[0])[0, 1, 1], pixels(3))
    assert [axis["name"] for axis in first.metadata["axes"]] == list("tczyx")
    assert first.metadata["channel_names"] == ["FITC", "DAPI"]
    scale = first.metadata["coordinateTransformations"][0][0]["scale"]
    assert scale == [2.0, 1.0, 1.5, 0.5, 0.5]


def test_the_metadata_meet_the_standard(run: RunFolder) -> None:
    for name in run.images:
        group = zarr.open_group(image_path(run, name), mode="r")
        assert isinstance(open_ome_zarr(group), Image)
    group = zarr.open_group(image_path(run, "pos0"), mode="r")
    image = Image.from_zarr(group)
    (scales,) = image.attributes.ome.multiscales
    assert [axis.unit for axis in scales.axes] == [
        "second",
        None,
        "micrometer",
        "micrometer",
        "micrometer",
    ]
    assert scales.name == "well A1"
    label = ImageLabel.from_zarr(group["labels/objects"])
    assert label.attributes.ome.image_label.source.image == "../../"
    listing = dict(group["labels"].attrs)["ome"]
    assert listing["labels"] == ["objects"]
    # Names of the array's own axes, which version 0.5 wants to agree.
    assert group["0"].metadata.dimension_names == ("t", "c", "z", "y", "x")


def test_unknown_scales_are_not_invented(tmp_path: Path) -> None:
    bare = layout(sizes={"t": 2}, channels=(), pixel_um=None, time_interval_s=None)
    writer = make_writer(tmp_path, [bare])
    writer.frame(make_frame(0, pixels(0), index={"t": 0}))
    writer.close({})
    path = writer.path / "images" / "pos0.ome.zarr"
    image = Image.from_zarr(zarr.open_group(path, mode="r"))
    (scales,) = image.attributes.ome.multiscales
    assert [axis.unit for axis in scales.axes] == [None] * 3
    reader = open_recording(path)
    assert reader.pixel_um is None and reader.interval_s is None


def test_an_image_is_valid_before_its_first_frame(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, [layout()])
    name = writer.open_growing("stream", "Camera", (8, 8), pixel_um=0.5)
    for image in ("pos0", name):
        path = writer.path / "images" / f"{image}.ome.zarr"
        assert isinstance(open_ome_zarr(zarr.open_group(path, mode="r")), Image)
    writer.abort()


def test_the_metadata_are_plain_json(run: RunFolder) -> None:
    for path in run.path.rglob("zarr.json"):
        assert json.loads(path.read_text(encoding="utf-8"))["zarr_format"] == 3


# -- OME-TIFF ---------------------------------------------------------------------


def test_the_exported_tiff_opens_elsewhere(run: RunFolder, tmp_path: Path) -> None:
    path = export_ome_tiff(run, tmp_path / "out.ome.tif", "pos0")
    assert [p.name for p in tmp_path.iterdir()] == ["out.ome.tif"]
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome
        assert tiff.series[0].axes == "TCZYX"
        array = tiff.asarray()
        facts = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
    for k, at in enumerate(np.ndindex(3, 2, 2)):
        np.testing.assert_array_equal(array[at], pixels(k))
    assert facts["PhysicalSizeX"] == 0.5 and facts["TimeIncrement"] == 2.0
    assert [channel["Name"] for channel in facts["Channel"]] == ["FITC", "DAPI"]
    times = {(p["TheT"], p["TheC"], p["TheZ"]): p["DeltaT"] for p in facts["Plane"]}
    # Exposed 1000 ns apart, in the order t, c, z.
    assert times == {
        at: pytest.approx(k * 1e-6) for k, at in enumerate(np.ndindex(3, 2, 2))
    }


def test_the_exported_tiff_replays(run: RunFolder, tmp_path: Path) -> None:
    path = export_ome_tiff(run.path, tmp_path / "out.ome.tif", "pos0")
    reader = open_recording(path)
    assert (reader.kind, reader.pixel_um, reader.interval_s) == ("ome-tiff", 0.5, 2.0)
    assert reader.channels == ("FITC", "DAPI")
    assert reader.sizes == {"t": 3, "c": 2, "z": 2, "y": 24, "x": 32}
    for k, at in enumerate(np.ndindex(3, 2, 2)):
        np.testing.assert_array_equal(reader.read(*at), pixels(k))
    reader.close()


def test_a_stream_is_exported_too(run: RunFolder, tmp_path: Path) -> None:
    name = "stream-camera-8x9-uint8"
    path = export_ome_tiff(run, tmp_path / "out.ome.tif", name)
    array = tifffile.imread(path)
    assert (array.shape, array.dtype) == ((5, 8, 9), np.uint8)
    np.testing.assert_array_equal(array[4], pixels(16, (8, 9), "uint8"))


def test_missing_planes_are_black_and_the_unreached_ones_left_out(
    tmp_path: Path,
) -> None:
    writer = make_writer(tmp_path, [layout(sizes={"t": 9}, channels=())])
    for t in (0, 2):
        writer.frame(make_frame(t, pixels(t), index={"t": t}))
    writer.close({})
    array = tifffile.imread(export_ome_tiff(writer.path, tmp_path / "o.ome.tif"))
    assert array.shape == (3, 24, 32)
    assert not array[1].any()
    np.testing.assert_array_equal(array[2], pixels(2))


def test_an_export_overwrites_nothing_and_asks_which(
    run: RunFolder, tmp_path: Path
) -> None:
    target = tmp_path / "precious.ome.tif"
    target.write_text("x")
    with pytest.raises(ConfigError, match="exists"):
        export_ome_tiff(run, target, "pos0")
    assert target.read_text() == "x"
    with pytest.raises(ConfigError, match="2 images; name one of: pos0, stream"):
        export_ome_tiff(run, tmp_path / "o.ome.tif")
    with pytest.raises(ConfigError, match="no image 'pos9'"):
        export_ome_tiff(run, tmp_path / "o.ome.tif", "pos9")
    with pytest.raises(ConfigError, match="cannot be written"):
        export_ome_tiff(run, tmp_path / "none" / "o.ome.tif", "pos0")
