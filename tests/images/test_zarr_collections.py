"""Plates, what bioformats2raw writes, and images on servers."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import zarr

import napari_ptsam as ptsam
from napari_ptsam.cli.inputs import find_images
from napari_ptsam.images import addresses
from napari_ptsam.images.addresses import Address, as_location
from napari_ptsam.images.locations import result_name
from napari_ptsam.images.patterns import matching
from napari_ptsam.images.reading import open_image

VALUES = np.random.default_rng(0).integers(0, 99, (20, 24)).astype(np.uint16)
FIELDS = ("A/1/0", "A/1/1", "A/2/0", "B/10/0")


def attributes(version: int, **values) -> dict:
    return {"ome": {"version": "0.5", **values}} if version == 3 else values


def image(path: Path, version: int = 2, shift: int = 0) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=version)
    group.create_array("0", data=VALUES + np.uint16(shift))
    step = {"type": "scale", "scale": [0.5, 0.5]}
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    levels = [{"path": "0", "coordinateTransformations": [step]}]
    scales = {"version": "0.4", "axes": axes, "datasets": levels}
    group.attrs.update(attributes(version, multiscales=[scales]))
    return path


def plate(path: Path, version: int = 2) -> Path:
    wells = sorted({field.rpartition("/")[0] for field in FIELDS})
    whole = zarr.open_group(path, mode="w", zarr_format=version)
    whole.attrs.update(attributes(version, plate={"wells": [{"path": well} for well in wells]}))
    for well in wells:
        zarr.open_group(path / well[0], mode="a", zarr_format=version)
        group = zarr.open_group(path / well, mode="w", zarr_format=version)
        fields = [{"path": field[-1]} for field in FIELDS if field.rpartition("/")[0] == well]
        group.attrs.update(attributes(version, well={"images": fields}))
    for number, field in enumerate(FIELDS):
        image(path / field, version, number)
    return path


def converted(path: Path, count: int, version: int = 2, **series) -> Path:
    """What bioformats2raw writes."""
    whole = zarr.open_group(path, mode="w", zarr_format=version)
    whole.attrs.update(attributes(version, **{"bioformats2raw.layout": 3}))
    ome = whole.create_group("OME")
    ome.attrs.update(attributes(version, **series))
    for number in range(count):
        image(path / str(number), version, number)
    return path


@pytest.mark.parametrize("version", [2, 3])
def test_a_plate_stands_for_its_fields(version, tmp_path) -> None:
    path = plate(tmp_path / "p.ome.zarr", version)
    found = find_images([path])
    assert found == [path / field for field in FIELDS]
    assert [result_name(one) for one in found] == ["p-A-1-0", "p-A-1-1", "p-A-2-0", "p-B-10-0"]
    opened = [open_image(one) for one in found]
    assert [int(planes[0][0, 0]) - int(VALUES[0, 0]) for planes in opened] == [0, 1, 2, 3]
    assert opened[3].name == "p.ome.zarr/B/10/0"
    with pytest.raises(ptsam.InputError, match=r"holds 4 images \(A/1/0, .*; name one of them"):
        open_image(path)


def test_rows_wells_fields_and_patterns(tmp_path, monkeypatch) -> None:
    path = plate(tmp_path / "p.zarr")
    assert find_images([path / "A"]) == [path / field for field in FIELDS[:3]]
    assert find_images([path / "A" / "1"]) == [path / field for field in FIELDS[:2]]
    assert find_images([path / "B" / "10" / "0"]) == [path / FIELDS[3]]
    assert matching(path / "*" / "*" / "0") == [path / FIELDS[n] for n in (0, 2, 3)]
    assert matching(path / "**") == [path / field for field in FIELDS]
    assert matching(tmp_path / "*.zarr" / "A" / "*" / "*") == [path / f for f in FIELDS[:3]]
    with pytest.raises(ptsam.InputError, match="No image matches"):
        matching(tmp_path / "**" / "1")  # it does not lead into a zarr
    monkeypatch.chdir(path / "A")
    assert result_name(Path("1") / "0") == "p-A-1-0"


def test_a_well_or_field_that_is_missing_is_named(tmp_path) -> None:
    path = plate(tmp_path / "p.zarr")
    (path / "A" / "2").rename(tmp_path / "elsewhere")
    found = find_images([path])
    assert path / "A" / "2" in found
    with pytest.raises(ptsam.InputError, match=r"p\.zarr/A/2"):
        open_image(path / "A" / "2")


@pytest.mark.parametrize("version", [2, 3])
def test_what_bioformats2raw_writes(version, tmp_path) -> None:
    one = converted(tmp_path / "one.zarr", 1, version)
    assert find_images([one]) == [one] and result_name(one) == "one"
    assert np.array_equal(open_image(one)[0], VALUES)
    three = converted(tmp_path / "three.zarr", 3, version)
    assert find_images([three]) == [three / name for name in "012"]
    assert result_name(three / "2") == "three-2"
    listed = converted(tmp_path / "listed.zarr", 3, version, series=["2", "0"])
    assert find_images([listed]) == [listed / "2", listed / "0"]


def test_paths_that_lead_out_of_the_zarr_are_not_followed(tmp_path) -> None:
    image(tmp_path / "other.zarr")
    path = converted(tmp_path / "a.zarr", 1, series=["../other.zarr"])
    with pytest.raises(ptsam.InputError, match="damaged"):
        open_image(path)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_args) -> None: ...

        def list_directory(self, _path):
            self.send_error(404)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_images_and_plates_on_a_server(tmp_path) -> None:
    pytest.importorskip("aiohttp")
    image(tmp_path / "a.ome.zarr", 3, 7)
    plate(tmp_path / "p.zarr")
    converted(tmp_path / "b.zarr", 2)
    with served(tmp_path) as url:
        planes = open_image(f"{url}/a.ome.zarr/")
        assert np.array_equal(planes[0], VALUES + 7) and planes.pixel_size.y == 0.5
        assert planes.name == "a.ome.zarr" and result_name(planes.path) == "a"
        assert np.array_equal(open_image(Path(f"{url}/a.ome.zarr"))[0], VALUES + 7)
        found = find_images([Address(f"{url}/p.zarr")])
        assert [str(one) for one in found] == [f"{url}/p.zarr/{field}" for field in FIELDS]
        assert result_name(found[3]) == "p-B-10-0" and open_image(found[3])[0].shape == (20, 24)
        some = find_images([as_location(f"{url}/p.zarr/A/*/0")])
        assert [str(one) for one in some] == [f"{url}/p.zarr/{FIELDS[n]}" for n in (0, 2)]
        with pytest.raises(ptsam.InputError, match=r"No image in .* matches"):
            find_images([as_location(f"{url}/p.zarr/C/*/0")])
        assert len(find_images([as_location(f"{url}/b.zarr")])) == 2
        with pytest.raises(ptsam.InputError, match=rf"There is no zarr at {url}/c\.zarr; check"):
            open_image(f"{url}/c.zarr")
    with pytest.raises(ptsam.InputError, match=rf"^{url}/a\.ome\.zarr cannot be read"):
        open_image(f"{url}/a.ome.zarr")


def test_addresses_are_not_taken_for_paths() -> None:
    for text in ("https://example.org/a.zarr", "s3://bucket/a.zarr"):
        assert str(as_location(text)) == str(as_location(Path(text))) == text
        assert str(as_location(f"{text}/")) == text
    for text in ("a.zarr", "C:/a.zarr", "/data/https:x/a.tif", "C:\\a.zarr"):
        assert as_location(text) == Path(text)
    assert as_location("file:///data/a.zarr") == Path("/data/a.zarr")
    assert result_name(Address("https://example.org/d.zarr/x/y")) == "d-x-y"
    assert result_name(Address("https://example.org/some/image")) == "image"


def test_what_is_not_installed_is_named(monkeypatch) -> None:
    fsspec = pytest.importorskip("fsspec")

    def missing(protocol: str):
        if protocol == "s3":
            raise ImportError("Install s3fs to access S3")
        raise ValueError(f"Protocol not known: {protocol}")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(ptsam.InputError, match=r"s3://b/a\.zarr, the package s3fs is needed; inst"):
        open_image("s3://b/a.zarr")
    with pytest.raises(ptsam.InputError, match="gopher:// is unknown; use https://"):
        open_image("gopher://b/a.zarr")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ptsam.InputError, match="the package fsspec is needed"):
        open_image("https://example.org/a.zarr")


def test_public_buckets_are_read_without_credentials(tmp_path, monkeypatch) -> None:
    image(tmp_path / "a.zarr", 3)
    monkeypatch.setattr(addresses, "_check_packages", lambda _address: None)
    opened, asked = zarr.open, []

    def stand_in(_url, mode, storage_options=None):
        asked.append(storage_options)
        if storage_options is None:
            raise PermissionError("no credentials")
        return opened(tmp_path / "a.zarr", mode=mode)

    monkeypatch.setattr(zarr, "open", stand_in)
    assert np.array_equal(open_image("s3://bucket/a.zarr")[0], VALUES)
    assert asked == [None, {"anon": True}]
