"""Files of microscopes, with a stand-in for bioio."""

import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import napari_ptsam as ptsam
from napari_ptsam.cli.inputs import find_images
from napari_ptsam.images.planes import PixelSize, TimeStep
from napari_ptsam.images.reading import list_images, open_image

VALUES = np.random.default_rng(0).integers(0, 999, (2, 2, 1, 3, 20, 24)).astype(np.uint16)
COLOURS = np.random.default_rng(1).integers(0, 255, (1, 1, 1, 20, 24, 3)).astype(np.uint8)


class Reader:
    """Stands for the reader of a format."""

    def __init__(self, image, chunk_dims=None) -> None: ...


class StandIn:
    """Two scenes, as `bioio.BioImage` presents them."""

    scenes = ("Series 1", "Series 2")
    physical_pixel_sizes = SimpleNamespace(Z=2.0, Y=0.5, X=0.25)
    time_interval = timedelta(minutes=2)
    channel_names = (np.str_("DAPI"), np.str_("GFP"))
    asked = ()

    def __init__(self, path, reader, **options) -> None:
        if path.read_bytes() != b"whole":
            raise ValueError("damaged")
        StandIn.asked, self._data = options, VALUES[0]
        self.dims = SimpleNamespace(order="CTZYX")

    def set_scene(self, scene: str) -> None:
        self._data = VALUES[self.scenes.index(scene)]

    @property
    def dask_data(self):
        return self._data

    data = dask_data
    shape = property(lambda self: self._data.shape)
    dtype = property(lambda self: self._data.dtype)


class Colours(StandIn):
    """One scene of colours, in the order of CZI."""

    scenes = ("Image:0",)
    physical_pixel_sizes = SimpleNamespace(Z=None, Y=0.0, X=0.0)
    time_interval = None
    channel_names = None

    def __init__(self, path, reader) -> None:
        self._data, self.dims = COLOURS, SimpleNamespace(order="TCZYXS")

    def set_scene(self, scene: str) -> None: ...


def install(monkeypatch, image=StandIn, kinds=("lif", "czi", "nd2"), reader=Reader) -> None:
    monkeypatch.setitem(sys.modules, "bioio", ModuleType("bioio"))
    monkeypatch.setattr(sys.modules["bioio"], "BioImage", image, raising=False)
    for kind in ("lif", "czi", "nd2"):
        module = ModuleType(f"bioio_{kind}") if kind in kinds else None
        monkeypatch.setitem(sys.modules, f"bioio_{kind}", module)
        if module is not None:
            monkeypatch.setattr(module, "Reader", reader, raising=False)


def write(path: Path, content: bytes = b"whole") -> Path:
    path.write_bytes(content)
    return path


def test_scenes_axes_sizes_and_names(tmp_path, monkeypatch) -> None:
    install(monkeypatch)
    path = write(tmp_path / "a.lif")
    assert find_images([path]) == [path / "Series 1", path / "Series 2"]
    for where in (path / "Series 2", path / "1"):
        planes = open_image(where)
        assert planes.axes == "CZYX" and planes.pixel_size == PixelSize(0.5, 0.25, 2.0)
        assert planes.channel_names == ("DAPI", "GFP") and planes.time_step == TimeStep(120.0)
        assert np.array_equal(np.stack(list(planes)), VALUES[1, :, 0].transpose(1, 2, 3, 0))
    assert StandIn.asked == {"chunk_dims": ["Y", "X"]}
    with pytest.raises(ptsam.InputError, match=r"holds 2 images \(Series 1, Series 2\)"):
        open_image(path)


def test_colours_of_czi(tmp_path, monkeypatch) -> None:
    install(monkeypatch, Colours, reader=lambda image: None)
    path = write(tmp_path / "a.czi")
    planes = open_image(path)
    assert planes.rgb and planes.pixel_size is None and planes.time_step is None
    assert find_images([path]) == [path]
    assert np.array_equal(planes[0], COLOURS[0, 0, 0][..., ::-1])


def test_what_is_not_installed_is_named(tmp_path, monkeypatch) -> None:
    path = write(tmp_path / "a.nd2")
    message = (
        r"bioio and bioio-nd2 are needed; install them with pip install 'napari-ptsam\[bioio\]'"
    )
    install(monkeypatch, kinds=("lif",))
    with pytest.raises(ptsam.InputError, match=message):
        open_image(path)
    monkeypatch.setitem(sys.modules, "bioio", None)
    with pytest.raises(ptsam.InputError, match=message):
        open_image(path)

    class Lazy(StandIn):
        @property
        def dask_data(self):
            raise ModuleNotFoundError("No module named 'a_package'")

    install(monkeypatch, Lazy)
    with pytest.raises(ptsam.InputError, match=message):
        open_image(path / "0")
    monkeypatch.setitem(sys.modules, "bioio", None)
    assert find_images([path]) == [path]  # the reason is given when it is opened


def test_damaged_files(tmp_path, monkeypatch) -> None:
    install(monkeypatch)
    with pytest.raises(ptsam.InputError, match=r"a\.lif cannot be read: the file is truncated, d"):
        open_image(write(tmp_path / "a.lif", b"part"))


def test_folders_list_them_where_there_is_nothing_else(tmp_path) -> None:
    paths = [write(tmp_path / name) for name in ("a.czi", "b.nd2")]
    assert list_images(tmp_path) == find_images([tmp_path / "*"]) == paths
    np.save(tmp_path / "a.npy", VALUES[0, 0, 0])
    assert list_images(tmp_path) == find_images([tmp_path / "*"]) == [tmp_path / "a.npy"]


def test_one_real_file(tmp_path) -> None:
    czi = pytest.importorskip("pylibCZIrw.czi")
    pytest.importorskip("bioio_czi")
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        for z, plane in enumerate(VALUES[0, 0, 0]):
            file.write(data=plane[..., None], plane={"Z": z, "C": 0})
        file.write_metadata(scale_x=0.25e-6, scale_y=0.5e-6, scale_z=2e-6)
    planes = open_image(tmp_path / "a.czi")
    assert planes.axes == "ZYX" and planes.pixel_size == PixelSize(0.5, 0.25, 2.0)
    assert np.array_equal(np.stack(list(planes)), VALUES[0, 0, 0])
