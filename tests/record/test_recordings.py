from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr.format import FormatV04, FormatV05
from record_helpers import layout, make_frame, make_writer, pixels

from smartscope.core import ConfigError, RecordError
from smartscope.record import open_recording

if TYPE_CHECKING:
    from pathlib import Path


def stack(*shape: int, dtype: str = "uint16") -> Any:
    rng = np.random.default_rng(len(shape))
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def write_image(film: Any, group: Any, **options: Any) -> None:
    with warnings.catch_warnings():
        # ome-zarr warns about itself when it is imported.
        warnings.simplefilter("ignore")
        from ome_zarr.writer import write_image

        write_image(film, group, **options)


# -- TIFF -------------------------------------------------------------------------


def test_a_plain_stack_is_a_film(tmp_path: Path) -> None:
    film = stack(7, 20, 30)
    tifffile.imwrite(tmp_path / "a.tif", film, compression="zlib")
    reader = open_recording(tmp_path / "a.tif")
    assert reader.kind == "tiff"
    assert reader.sizes == {"t": 7, "c": 1, "z": 1, "y": 20, "x": 30}
    assert reader.n_times == 7
    assert reader.dtype == np.uint16
    assert (reader.interval_s, reader.pixel_um) == (None, None)
    for t in range(7):
        plane = reader.read(t)
        np.testing.assert_array_equal(plane, film[t])
        assert plane.flags.c_contiguous and not plane.flags.writeable
    with pytest.raises(RecordError, match="t=7"):
        reader.read(7)
    with pytest.raises(RecordError, match="t=-1"):
        reader.read(-1)
    reader.close()


def test_given_scales_win(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", stack(2, 8, 8))
    reader = open_recording(tmp_path / "a.tif", interval_s=2.5, pixel_um=0.1)
    assert (reader.interval_s, reader.pixel_um) == (2.5, 0.1)
    reader.close()


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_is_three_channels(tmp_path: Path, planar: str) -> None:
    film = stack(4, 10, 12, 3, dtype="uint8")
    data = film if planar == "contig" else np.moveaxis(film, -1, 1)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, photometric="rgb", planarconfig=planar)
    reader = open_recording(path)
    assert reader.sizes == {"t": 4, "c": 3, "z": 1, "y": 10, "x": 12}
    assert reader.channels == ("red", "green", "blue")
    assert reader.dtype == np.uint8
    for t in range(4):
        for c in range(3):
            np.testing.assert_array_equal(reader.read(t, c), film[t, ..., c])
    reader.close()


def test_imagej_hyperstack_with_interval_and_unit(tmp_path: Path) -> None:
    film = stack(3, 2, 4, 8, 9)  # t z c y x, as ImageJ has it
    tifffile.imwrite(
        tmp_path / "a.tif",
        film,
        imagej=True,
        resolution=(5.0, 5.0),
        metadata={"axes": "TZCYX", "finterval": 3.5, "unit": "um"},
    )
    reader = open_recording(tmp_path / "a.tif")
    assert (reader.kind, reader.interval_s) == ("imagej-tiff", 3.5)
    assert reader.pixel_um == pytest.approx(0.2)
    assert reader.sizes == {"t": 3, "c": 4, "z": 2, "y": 8, "x": 9}
    for t, z, c in np.ndindex(3, 2, 4):
        np.testing.assert_array_equal(reader.read(t, c, z), film[t, z, c])
    reader.close()


@pytest.mark.parametrize(
    ("unit", "um"), [("micron", 0.5), ("\\u00B5m", 0.5), ("nm", 0.0005), ("inch", None)]
)
def test_imagej_units(tmp_path: Path, unit: str, um: float | None) -> None:
    path = tmp_path / "a.tif"
    facts = {"axes": "TYX", "unit": unit}
    film = stack(2, 8, 8)
    tifffile.imwrite(path, film, imagej=True, resolution=(2, 2), metadata=facts)
    reader = open_recording(path)
    assert reader.pixel_um == (None if um is None else pytest.approx(um))
    reader.close()


def test_ome_tiff_units_and_names(tmp_path: Path) -> None:
    film = stack(5, 2, 8, 9)
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        film,
        metadata={
            "axes": "TCYX",
            "TimeIncrement": 250.0,
            "TimeIncrementUnit": "ms",
            "PhysicalSizeX": 65.0,
            "PhysicalSizeXUnit": "nm",
            "Channel": {"Name": ["GFP", "mCherry"]},
        },
    )
    reader = open_recording(tmp_path / "a.ome.tif")
    assert reader.interval_s == pytest.approx(0.25)
    assert reader.pixel_um == pytest.approx(0.065)
    assert reader.channels == ("GFP", "mCherry")
    np.testing.assert_array_equal(reader.read(4, 1), film[4, 1])
    reader.close()


def test_pages_written_one_by_one_are_a_film(tmp_path: Path) -> None:
    film = stack(6, 8, 9)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for plane in film:
            writer.write(plane, contiguous=False)
    reader = open_recording(tmp_path / "a.tif")
    assert reader.n_times == 6
    np.testing.assert_array_equal(reader.read(5), film[5])
    reader.close()


def test_bare_pages_without_any_metadata_are_a_film(tmp_path: Path) -> None:
    film = stack(6, 8, 9)
    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=True) as writer:
        for plane in film:
            writer.write(plane, metadata=None, description=None)
    reader = open_recording(tmp_path / "a.tif")
    np.testing.assert_array_equal([reader.read(t) for t in range(6)], film)
    reader.close()


def test_a_hyperstack_behind_one_page(tmp_path: Path) -> None:
    # ImageJ writes one directory only for large stacks, with the count in its text.
    film = stack(5, 8, 9)
    text = "ImageJ=1.53\nimages=5\nframes=5\nhyperstack=true\nfinterval=2\n"
    path = tmp_path / "a.tif"
    whole = film.astype(">u2")
    tifffile.imwrite(path, whole[0], byteorder=">", description=text, metadata=None)
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[0].dataoffsets[0]
    with path.open("ab") as file:
        file.truncate(start)
        file.seek(0, 2)
        file.write(whole.tobytes())
    reader = open_recording(path)
    assert reader.n_times == 5
    for t in range(5):
        plane = reader.read(t)
        assert plane.dtype == np.dtype(np.uint16)
        np.testing.assert_array_equal(plane, film[t])
    reader.close()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="page 5 of 5 is cut off"):
        open_recording(path)


def test_axes_given_by_hand(tmp_path: Path) -> None:
    film = stack(4, 3, 8, 9)
    tifffile.imwrite(tmp_path / "a.tif", film, photometric="minisblack")
    with pytest.raises(ConfigError, match=r"recording\.axes: the axes .*unclear"):
        open_recording(tmp_path / "a.tif")
    reader = open_recording(tmp_path / "a.tif", "tcyx")
    assert reader.sizes == {"t": 4, "c": 3, "z": 1, "y": 8, "x": 9}
    np.testing.assert_array_equal(reader.read(3, 2), film[3, 2])
    reader.close()
    reader = open_recording(tmp_path / "a.tif", "ZTYX")
    np.testing.assert_array_equal(reader.read(2, 0, 3), film[3, 2])
    reader.close()
    for wrong in ("tyx", "ttyx", "tcyq", "tczx"):
        with pytest.raises(ConfigError, match=r"recording\.axes"):
            open_recording(tmp_path / "a.tif", wrong)


def test_one_of_several_images(tmp_path: Path) -> None:
    small, large = stack(5, 8, 9), stack(2, 12, 13)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(small)
        writer.write(large)
    reader = open_recording(tmp_path / "a.tif", image="1")
    np.testing.assert_array_equal(reader.read(1), large[1])
    reader.close()
    with pytest.raises(ConfigError, match="no image 2; choose 0 to 1"):
        open_recording(tmp_path / "a.tif", image="2")


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint32", "complex64"])
def test_pixels_that_do_not_fit_are_refused(tmp_path: Path, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 8, 8), dtype))
    with pytest.raises(ConfigError, match=rf"{dtype} pixels.*16-bit"):
        open_recording(tmp_path / "a.tif")


def test_masks_become_8_bit(tmp_path: Path) -> None:
    film = stack(3, 8, 8) > 30000
    tifffile.imwrite(tmp_path / "a.tif", film)
    reader = open_recording(tmp_path / "a.tif")
    assert reader.dtype == np.uint8
    np.testing.assert_array_equal(reader.read(1), film[1])
    reader.close()


def _save(path: Path, kind: str, film: Any) -> None:
    if kind == "imagej":
        tifffile.imwrite(path, film, imagej=True, metadata={"axes": "TYX"})
    elif kind == "ome":
        tifffile.imwrite(path, film, ome=True, metadata={"axes": "TYX"})
    elif kind == "zlib":
        tifffile.imwrite(path, film, compression="zlib")
    else:
        with tifffile.TiffWriter(path, bigtiff=kind == "big") as writer:
            for plane in film:
                writer.write(plane, contiguous=False)


@pytest.mark.parametrize("kind", ["imagej", "ome", "zlib", "pages", "big"])
def test_every_cut_is_noticed(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    film = stack(8, 20, 21)
    whole = tmp_path / "whole.tif"
    _save(whole, kind, film)
    data = whole.read_bytes()
    cut = tmp_path / "cut.tif"
    # The last 16 bytes that tifffile writes for ImageJ are padding.
    for length in [*range(16, len(data) - 17, 311), len(data) - 17]:
        cut.write_bytes(data[:length])
        with pytest.raises(ConfigError) as refused:
            open_recording(cut)
        sentence = str(refused.value)
        assert "ends early" in sentence and "copy the file again" in sentence
    assert capsys.readouterr().err == ""
    assert not logging.getLogger("tifffile").disabled


def test_a_cut_names_the_page(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack(21, 20, 20), compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[16].dataoffsets[0]
    path.write_bytes(path.read_bytes()[: start + 10])
    with pytest.raises(ConfigError, match=r"a.tif ends early: page 17 of 21 is cut"):
        open_recording(path)


def test_damaged_pixels_are_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack(5, 20, 20), compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[1].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[start : start + 20] = b"x" * 20
    path.write_bytes(data)
    reader = open_recording(path)
    reader.read(0)
    with pytest.raises(RecordError, match="page 2 is damaged"):
        reader.read(1)
    reader.close()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"hello, I am a text", "is no TIFF file"),
        (b"", "is empty"),
        (b"II*\0", "ends early: page 1 is cut off"),
        (b"II*\0\xff\xff\xff\x7f", "ends early: page 1 is cut off"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is no TIFF file"),
    ],
)
def test_what_is_no_tiff_is_a_sentence(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        open_recording(path)


def test_missing_and_empty_folders_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        open_recording(tmp_path / "none.tif")
    with pytest.raises(ConfigError, match="is empty; name a smartscope run"):
        open_recording(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ConfigError, match="holds no recording"):
        open_recording(tmp_path)


# -- OME-Zarr ---------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_written_by_ome_zarr(tmp_path: Path, version: str) -> None:
    film = stack(3, 2, 4, 8, 9)
    path = tmp_path / "a.ome.zarr"
    form = FormatV04() if version == "0.4" else FormatV05()
    group = zarr.open_group(path, mode="w", zarr_format=form.zarr_format)
    write_image(film, group, axes="tczyx", scale_factors=[], fmt=form)
    # ome-zarr names no units of its own accord.
    attributes = group.attrs.asdict()
    ome = attributes if version == "0.4" else attributes["ome"]
    units = ("minute", None, "micrometer", "nanometer", "nanometer")
    for axis, unit in zip(ome["multiscales"][0]["axes"], units, strict=True):
        if unit is not None:
            axis["unit"] = unit
    steps = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    steps[0]["scale"] = [0.5, 1.0, 2.0, 65.0, 65.0]
    group.attrs.put(attributes)
    reader = open_recording(path)
    assert reader.kind == "ome-zarr"
    assert reader.sizes == {"t": 3, "c": 2, "z": 4, "y": 8, "x": 9}
    assert reader.interval_s == pytest.approx(30.0)
    assert reader.pixel_um == pytest.approx(0.065)
    for t, c, z in np.ndindex(3, 2, 4):
        np.testing.assert_array_equal(reader.read(t, c, z), film[t, c, z])


def test_several_images_in_one_folder(tmp_path: Path) -> None:
    root = tmp_path / "a.zarr"
    zarr.open_group(root, mode="w").attrs["ome"] = {
        "version": "0.5",
        "bioformats2raw.layout": 3,
    }
    films = [stack(2, 8, 8), stack(3, 8, 8)]
    for k, film in enumerate(films):
        group = zarr.open_group(root / str(k), mode="w")
        write_image(film, group, axes="tyx", scale_factors=[], fmt=FormatV05())
    assert open_recording(root).n_times == 2
    reader = open_recording(root, image="1")
    np.testing.assert_array_equal(reader.read(2), films[1][2])


def test_zarr_that_is_no_image_is_a_sentence(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "b.zarr", shape=(2, 8, 8), dtype="uint16")
    with pytest.raises(ConfigError, match=r"metadata cannot be read.*0\.4 or 0\.5"):
        open_recording(tmp_path / "b.zarr")
    zarr.open_group(tmp_path / "c.zarr", mode="w", zarr_format=2)
    with pytest.raises(ConfigError, match="Zarr"):
        open_recording(tmp_path / "c.zarr")
    plate = zarr.open_group(tmp_path / "d.zarr", mode="w")
    plate.attrs["ome"] = {"version": "0.5", "plate": {}}
    with pytest.raises(ConfigError, match="is a plate"):
        open_recording(tmp_path / "d.zarr")


def test_an_image_whose_array_is_gone_is_a_sentence(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    write_image(stack(2, 8, 8), group, axes="tyx", scale_factors=[], fmt=FormatV05())
    (array,) = (p for p in (tmp_path / "a.zarr").iterdir() if p.is_dir())
    (array / "zarr.json").unlink()
    with pytest.raises(ConfigError, match="no readable Zarr array"):
        open_recording(tmp_path / "a.zarr")


# -- our own runs -----------------------------------------------------------------


def test_a_run_is_a_recording(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, [layout(sizes={"t": 9, "c": 2})])
    for k, (t, c) in enumerate(np.ndindex(3, 2)):
        frame = make_frame(
            k,
            pixels(k),
            index={"t": t, "c": c},
            t_exposed_ns=2_000_000_000 * t + 50_000_000 * c,
        )
        writer.frame(frame)
    for k in range(6, 10):
        exposed = 100_000_000 * k
        frame = make_frame(k, pixels(k, (8, 8)), role="stream", t_exposed_ns=exposed)
        writer.frame(frame)
    writer.close({})
    reader = open_recording(writer.path)
    assert reader.kind == "run"
    assert reader.sizes == {"t": 3, "c": 2, "z": 1, "y": 24, "x": 32}
    assert reader.channels == ("FITC", "DAPI")
    assert (reader.interval_s, reader.pixel_um) == (2.0, 0.5)
    assert reader.times_s == (0.0, 2.0, 4.0)
    np.testing.assert_array_equal(reader.read(2, 1), pixels(5))
    stream = open_recording(writer.path, image="stream-camera-8x8")
    assert stream.times_s == pytest.approx((0.0, 0.1, 0.2, 0.3))
    assert stream.interval_s == pytest.approx(0.1)
    np.testing.assert_array_equal(stream.read(3), pixels(9, (8, 8)))
    with pytest.raises(ConfigError, match="choose one of its images: pos0, stream"):
        open_recording(writer.path, image="pos7")
    # One image of it is an OME-Zarr like any other.
    image = open_recording(writer.path / "images" / "pos0.ome.zarr")
    assert image.n_times == 9


def test_a_run_without_pixels_is_a_sentence(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    writer.close({})
    with pytest.raises(ConfigError, match="no image with frames"):
        open_recording(writer.path)
