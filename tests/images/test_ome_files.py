"""Images that are spread over several OME-TIFF files, as microscopes save them."""

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import tifffile

import napari_ptsam as ptsam
from napari_ptsam.datasets.pairing import as_planes, pair
from napari_ptsam.errors import PtsamWarning
from napari_ptsam.images.locations import images_at, one_of_each_image
from napari_ptsam.images.planes import PixelSize
from napari_ptsam.images.reading import list_images, open_image

OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
VALUES = np.random.default_rng(0).integers(0, 999, (3, 2, 2, 20, 24)).astype(np.uint16)  # TCZYX


def data(first: dict[str, int], name: str, page: int = 0, count: int | None = 1) -> str:
    """A TiffData element."""
    where = "".join(f' First{axis}="{number}"' for axis, number in first.items())
    planes = "" if count is None else f' IFD="{page}" PlaneCount="{count}"'
    return f'<TiffData{where}{planes}><UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>'


def image(
    elements: str, name: str = "exp", sizes: Sequence[int] = (3, 2, 2), extra: str = ""
) -> str:
    t, c, z = sizes
    return (
        f'<Image ID="Image:{name}" Name="{name}"><Pixels ID="Pixels:{name}" DimensionOrder="XYZCT" '
        f'Type="uint16" SizeX="24" SizeY="20" SizeZ="{z}" SizeC="{c}" SizeT="{t}" '
        f'PhysicalSizeX="0.5" PhysicalSizeY="0.25" {extra}>{elements}</Pixels></Image>'
    )


def xml(body: str, name: str) -> bytes:
    return f'<?xml version="1.0"?><OME xmlns="{OME}" UUID="urn:uuid:{name}">{body}</OME>'.encode()


def write(path: Path, planes: np.ndarray, body: str) -> None:
    with tifffile.TiffWriter(path) as file:
        for number, plane in enumerate(planes.reshape(-1, 20, 24)):
            text = xml(body, path.name) if number == 0 else None
            file.write(plane, description=text, metadata=None, contiguous=False)


def frames(folder: Path) -> list[Path]:
    """One file a frame, each with the whole text, as Micro-Manager writes it."""
    folder.mkdir()
    names = [f"exp_T{t}.ome.tif" for t in range(3)]
    body = image("".join(data({"T": t}, name, count=4) for t, name in enumerate(names)))
    for t, name in enumerate(names):
        write(folder / name, VALUES[t], body)
    return [folder / name for name in names]


def whole(planes) -> np.ndarray:
    """All planes as (t, z, y, x, c)."""
    return np.stack(list(planes)).reshape(3, 2, 20, 24, 2)


EXPECTED = VALUES.transpose(0, 2, 3, 4, 1)


def test_each_file_stands_for_the_whole_image(tmp_path) -> None:
    files = frames(tmp_path / "a")
    for file in files:
        planes = open_image(file)
        assert planes.axes == "TCZYX" and planes.pixel_size == PixelSize(0.25, 0.5)
        assert np.array_equal(whole(planes), EXPECTED)
        assert "one of 3 files" in planes.notes[0]
    assert one_of_each_image(list_images(tmp_path / "a")) == files[:1]
    alone = open_image(files[1], alone=True)
    assert alone.axes == "CZYX" and np.array_equal(np.stack(alone), EXPECTED[1])
    assert [len(one) for one in as_planes(tmp_path / "a")] == [2, 2, 2]


def test_one_file_per_plane_with_the_text_in_the_first_alone(tmp_path, caplog) -> None:
    """As Prairie View saves: the other files refer to the first."""
    names = {(t, c, z): f"TSeries_Cycle{t}_Ch{c}_{z:06}.ome.tif" for t, c, z in np.ndindex(3, 2, 2)}
    body = image("".join(data({"T": t, "C": c, "Z": z}, name) for (t, c, z), name in names.items()))
    master = names[0, 0, 0]
    for place, name in names.items():
        other = f'<BinaryOnly MetadataFile="{master}" UUID="urn:uuid:{master}"/>'
        write(tmp_path / name, VALUES[place], body if name == master else other)
    listed = list_images(tmp_path)
    assert len(listed) == 12 and len(one_of_each_image(reversed(listed))) == 1
    for name in (master, names[2, 1, 1]):
        planes = open_image(tmp_path / name)
        assert np.array_equal(whole(planes), EXPECTED)
    assert not caplog.messages


def test_files_without_a_text_belong_to_the_file_that_names_them(tmp_path) -> None:
    """As Micro-Manager splits a stack of more than 4 GB."""
    names = ["b.ome.tif", "a.ome.tif"]
    elements = "".join(data({"C": c}, name, count=2) for c, name in enumerate(names))
    write(tmp_path / "b.ome.tif", VALUES[0, 0], image(elements, sizes=(1, 2, 2)))
    tifffile.imwrite(tmp_path / "a.ome.tif", VALUES[0, 1], ome=False, metadata=None)
    assert one_of_each_image(list_images(tmp_path)) == [tmp_path / "b.ome.tif"]
    assert np.array_equal(np.stack(open_image(tmp_path / "b.ome.tif")), EXPECTED[0])


def test_a_companion_file_and_a_file_without_counts(tmp_path) -> None:
    names = [f"c{channel}.ome.tiff" for channel in range(2)]
    elements = "".join(data({"C": c}, name, count=None) for c, name in enumerate(names))
    text = xml(image(elements, sizes=(1, 2, 2)), "exp.companion.ome")
    (tmp_path / "exp.companion.ome").write_bytes(text)
    for channel, name in enumerate(names):
        reference = '<BinaryOnly MetadataFile="exp.companion.ome" UUID="urn:uuid:x"/>'
        write(tmp_path / name, VALUES[0, channel], reference)
    planes = open_image(tmp_path / names[1])
    assert planes.axes == "CZYX" and np.array_equal(np.stack(planes), EXPECTED[0])
    (tmp_path / "exp.companion.ome").unlink()
    planes = open_image(tmp_path / names[1])
    assert np.array_equal(np.stack(planes), VALUES[0, 1])


def test_files_that_are_missing(tmp_path) -> None:
    files = frames(tmp_path / "a")
    (tmp_path / "one").mkdir()
    copy = Path(shutil.copy(files[1], tmp_path / "one"))
    planes = open_image(copy)
    assert np.array_equal(np.stack(planes), EXPECTED[1])
    assert "exp_T0.ome.tif, are missing" in planes.notes[0]
    files[1].unlink()
    planes = open_image(files[0])
    assert planes.leading == (3, 2) and "1 are missing" in planes.notes[0]
    assert np.array_equal(planes[4], EXPECTED[2, 0])
    with pytest.raises(ptsam.InputError, match=r"exp_T1\.ome\.tif is missing; put it back"):
        planes[2]
    files[2].write_bytes(files[2].read_bytes()[:900])
    with pytest.raises(ptsam.InputError, match=r"exp_T2\.ome\.tif cannot be read"):
        planes[4]


def test_renamed_files(tmp_path) -> None:
    files = frames(tmp_path / "a")
    # Its id tells that it is one of those that the text names.
    planes = open_image(files[1].rename(tmp_path / "a" / "b.ome.tif"))
    assert np.array_equal(whole(planes), EXPECTED)
    text = image(data({}, "x.ome.tif", count=2) + data({"C": 1}, "y.ome.tif", count=2))
    write(tmp_path / "z.ome.tif", VALUES[0, 0], text)
    planes = open_image(tmp_path / "z.ome.tif")
    assert "renamed" in planes.notes[0] and np.array_equal(np.stack(planes), VALUES[0, 0])
    # A single file is renamed without a word.
    write(
        tmp_path / "w.ome.tif", VALUES[0, 0], image(data({}, "v.ome.tif", count=2), sizes=(1, 1, 2))
    )
    planes = open_image(tmp_path / "w.ome.tif")
    assert not planes.notes and np.array_equal(np.stack(planes), VALUES[0, 0])


def test_positions_in_files_of_their_own_and_in_one(tmp_path) -> None:
    names = ["Pos0.ome.tif", "Pos1.ome.tif"]
    sizes = (1, 2, 2)
    body = "".join(image(data({}, name, count=4), name[:4], sizes) for name in names)
    for number, name in enumerate(names):
        write(tmp_path / name, VALUES[number], body)
    assert len(one_of_each_image(list_images(tmp_path))) == 2
    planes = open_image(tmp_path / names[1])
    assert not planes.notes and np.array_equal(np.stack(planes), EXPECTED[1])
    both = tmp_path / "both.ome.tif"
    parts = [data({}, both.name, 4 * number, 4) for number in range(2)]
    write(both, VALUES[:2], "".join(image(part, f"P{n}", sizes) for n, part in enumerate(parts)))
    assert images_at(both) == [both / "P0", both / "P1"]
    for where in (both / "P1", both / "1"):
        planes = open_image(where)
        assert planes.name == f"both.ome.tif/{where.name}"
        assert np.array_equal(np.stack(planes), EXPECTED[1])
    with pytest.raises(ptsam.InputError, match=r"holds 2 images \(P0, P1\); name one of them"):
        open_image(both)
    with pytest.raises(ptsam.InputError, match="has no image called P7"):
        open_image(both / "P7")


def test_a_mask_for_each_file_or_one_for_all(tmp_path) -> None:
    frames(tmp_path / "a")
    masks = np.zeros((3, 2, 20, 24), np.uint16)
    masks[..., 4:9, 5:9] = 1
    for folder in ("each", "all"):
        (tmp_path / folder).mkdir()
    for t in range(3):
        tifffile.imwrite(tmp_path / "each" / f"exp_T{t}.tif", masks[t])
    tifffile.imwrite(tmp_path / "all" / "exp_T0.tif", masks, metadata={"axes": "TZYX"}, imagej=True)
    for folder, lengths in (("each", [2, 2, 2]), ("all", [6])):
        with nullcontext() if folder == "each" else pytest.warns(PtsamWarning, match="one of 3"):
            images, found = pair(tmp_path / "a", tmp_path / folder)
        assert [len(one) for one in images] == [len(one) for one in found] == lengths


def test_names_of_folders_in_the_text_do_not_lead_out(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    tifffile.imwrite(tmp_path / "secret.tif", VALUES[0, 0, 0])
    body = image(data({}, "a.ome.tif") + data({"Z": 1}, "../secret.tif"), sizes=(1, 1, 2))
    write(tmp_path / "a" / "a.ome.tif", VALUES[0, 0, :1], body)
    planes = open_image(tmp_path / "a" / "a.ome.tif")
    assert np.array_equal(planes[0], VALUES[0, 0, 0]) and len(planes) == 1


def test_a_folder_opens_as_one_layer(tmp_path) -> None:
    from napari_ptsam.widgets.shared.folders import NOTES, read_folder

    frames(tmp_path / "a")
    (layer,) = list(read_folder(tmp_path / "a"))[-1]
    assert layer["name"] == "exp_T0.ome" and layer["axis_labels"] == ("t", "z", "y", "x", "c")
    assert "all of them are read" in layer["metadata"][NOTES][0]
    assert np.array_equal(np.asarray(layer["data"]), EXPECTED)
