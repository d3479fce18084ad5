"""The session folder: what is saved comes back, and nothing breaks it."""

import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_ptsam.annotation.scheme import Scheme
from napari_ptsam.annotation.session import Session, SessionImage, SessionPlane
from napari_ptsam.annotation.session_folder import SessionFolder, default_root, unfinished_sessions
from napari_ptsam.errors import InputError, OutputError, SessionError
from napari_ptsam.images.planes import PixelSize
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.prompts.prompt import Prompt
from napari_ptsam.training.presets import PRESETS, training_settings
from napari_ptsam.training.settings import TrainingSettings

STACK = SessionImage(
    "cells",
    (2, 5, 128, 128),
    "TZYX",
    PixelSize(0.5, 0.25, 2.0),
    "/data/cells.tif",
    ("a", "b"),
    (0,),
)
PLANE = SessionImage("alone", (128, 128, 3), "YXS")
FULL = Session(
    scheme=Scheme(("Zellkern µ", "debris"), sparse=True, background=3),
    images=(STACK, PLANE),
    planes=(SessionPlane(0, (1, 3), done=True, held_out=False, dice=0.75), SessionPlane(1, ())),
    settings={"preset": "quick", "device": "cuda", "tile": None, "channels": [0, 1]},
)


@pytest.fixture
def prompt() -> Prompt:
    """Of random numbers: here it is only kept."""
    tokens = np.random.default_rng(0).normal(size=(1, 8, 256)).astype(np.float32)
    settings = ImageSettings(Tiling(128, whole=True))
    return Prompt(tokens, ("object",), ("#E69F00",), "vit_t", "0" * 16, settings)


@pytest.fixture
def folder(tmp_path: Path) -> SessionFolder:
    return SessionFolder.create(tmp_path, "my cells")


@pytest.fixture
def filled(folder: SessionFolder, nuclei) -> SessionFolder:
    """Real nuclei: four planes of a stack, three of them done, and a plane."""
    alone = SessionImage("alone", (128, 128), "YX")
    planes = [SessionPlane(0, (0, z), done=z != 2) for z in range(4)] + [
        SessionPlane(1, (), done=True)
    ]
    folder.write(Session(images=(STACK, alone), planes=tuple(planes)))
    for plane, image, mask in zip(planes, *nuclei, strict=False):
        folder.write_plane(plane, image, mask)
    return folder


def file(folder: SessionFolder, kind: str, stem: str) -> Path:
    return folder.path / kind / f"{stem}.tif"


# Round trips


def test_a_session_comes_back(folder: SessionFolder) -> None:
    labels = np.zeros((128, 128), np.uint8)
    labels[0, 0] = 300 % 256
    folder.write(FULL)
    for plane in FULL.planes:
        shape = (128, 128, 3) if plane.image else (128, 128)
        folder.write_plane(plane, np.zeros(shape, np.uint8), labels)
    found = SessionFolder(folder.path).read()
    assert replace(found, created="", saved="") == FULL and found.problems == ()
    assert found.created.endswith("+00:00") and found.created <= found.saved
    time.sleep(0.01)
    folder.write(replace(found, closed=True))
    again = folder.read()
    assert again.created == found.created and again.saved > found.saved and again.closed


def test_a_new_folder_is_never_an_existing_one(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "root"
    names = [SessionFolder.create(root, "Müller's  Zellen/2.tif").path.name for _ in range(3)]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-muller-s-zellen-2-tif", names[0])
    assert names[1:] == [names[0] + "-2", names[0] + "-3"]
    session = SessionFolder(root / names[0]).read()
    assert not session.closed and session.planes == () and session.created
    for name in ("", "細胞", "../..", "x" * 300):
        path = SessionFolder.create(root, name).path
        assert path.parent == root and len(path.name) < 60


SHAPES = {"YX": (40, 30), "YXC": (40, 30, 2), "YXC5": (40, 30, 5), "YXS": (40, 30, 3)}


@pytest.mark.parametrize("axes", SHAPES)
@pytest.mark.parametrize(
    "dtype",
    ["bool", "uint8", "int8", "uint16", ">u2", "int32", "uint64", "float16", "float32", "float64"],
)
def test_pixels_of_any_kind_come_back(folder: SessionFolder, axes: str, dtype: str) -> None:
    shape = SHAPES[axes]
    pixels = (np.random.default_rng(0).random(shape) * 100).astype(dtype)
    if dtype == "bool":
        pixels = np.random.default_rng(0).random(shape) > 0.5
    image = SessionImage("i", shape, axes[:3], PixelSize(0.5, 0.25))
    folder.write(Session(images=(image,)))
    plane = SessionPlane(0, ())
    assert not folder.has_pixels(plane)
    folder.write_plane(plane, pixels, np.ones((40, 30), int))
    found = folder.read_pixels(plane)
    assert folder.has_pixels(plane)
    assert found.shape == shape and found.dtype == np.dtype(dtype).newbyteorder("=")
    assert (found == pixels).all()
    with tifffile.TiffFile(file(folder, "images", "000")) as tiff:
        assert tiff.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        colour = axes == "YXS" and dtype in ("uint8", "uint16", ">u2")
        assert (tiff.pages[0].photometric == tifffile.PHOTOMETRIC.RGB) == colour
        if pixels.dtype.name in ("uint8", "uint16", "float32") and not (
            axes == "YXS" and dtype != "uint8" and colour
        ):
            assert tiff.is_imagej and tiff.imagej_metadata["unit"] == "um"
            y, x = (tiff.pages[0].tags[f"{axis}Resolution"].value for axis in "YX")
            assert y[0] / y[1] == 2 and x[0] / x[1] == 4


@pytest.mark.parametrize(
    ("highest", "dtype"),
    [(0, "uint8"), (255, "uint8"), (256, "uint16"), (65536, "uint32"), (2**40, "uint64")],
)
def test_masks_are_as_small_as_they_can_be(folder: SessionFolder, highest, dtype) -> None:
    folder.write(Session(images=(SessionImage("i", (3, 40, 30), "ZYX", PixelSize(0.5, 0.5)),)))
    labels = np.zeros((40, 30), np.int64)
    labels[3, 4] = highest
    plane = SessionPlane(0, (2,))
    folder.write_plane(plane, labels.astype(np.float32), labels)
    assert folder.read_labels(plane).dtype == dtype and (folder.read_labels(plane) == labels).all()
    with tifffile.TiffFile(file(folder, "masks", "000-2")) as tiff:
        assert tiff.asarray().dtype == dtype
        if highest < 65536:
            assert tiff.is_imagej and tiff.imagej_metadata["unit"] == "um"


def test_pixels_are_written_once_and_labels_each_time(filled, nuclei) -> None:
    plane = SessionPlane(0, (0, 1))
    before = file(filled, "images", "000-0-1").stat().st_mtime_ns
    labels = np.full((128, 128), 7)
    for pixels in (nuclei[0][5], None):
        filled.write_plane(plane, pixels, labels)
        assert (filled.read_pixels(plane) == nuclei[0][1]).all()
        assert (filled.read_labels(plane) == labels).all()
        labels[0] += 1
    assert file(filled, "images", "000-0-1").stat().st_mtime_ns == before
    assert not [p for p in filled.path.rglob("*") if p.name.startswith(".")]


def test_a_pixel_size_that_no_tiff_can_tell(folder: SessionFolder) -> None:
    plane, labels = SessionPlane(0, ()), np.ones((40, 30), int)
    for size in (PixelSize(1e-9, 1e-9), PixelSize(0, -1), PixelSize(1, 1, None, "µ\n")):
        folder.write(Session(images=(SessionImage("i", (40, 30), "YX", size),)))
        folder.write_plane(plane, labels.astype(np.uint8), labels)
        assert folder.read().images[0].pixel_size == size
        folder.remove_plane(plane)


def test_removing(filled: SessionFolder) -> None:
    plane = SessionPlane(0, (0, 1))
    for _ in range(2):  # twice is no error
        filled.remove_plane(plane)
        assert not file(filled, "images", "000-0-1").exists()
        assert not file(filled, "masks", "000-0-1").exists()
    session = filled.read()
    assert len(session.planes) == 4 and "000-0-1.tif" in session.problems[0]


# What is missing, or damaged


def test_a_mask_that_is_not_named_is_taken(filled: SessionFolder, nuclei) -> None:
    session = filled.read()
    assert session.problems == () and len(session.planes) == 5
    filled.write(replace(session, planes=session.planes[:3]))
    filled.write_plane(SessionPlane(0, (1, 4)), nuclei[0][0], np.zeros((128, 128), int))
    filled.write_plane(SessionPlane(0, (1, 0)), nuclei[0][0], nuclei[1][0])
    (filled.path / "masks" / "notes.tif").write_text("mine", encoding="utf-8")
    (filled.path / "masks" / ".000-1-1-abc.tif").write_text("half", encoding="utf-8")
    found = filled.read()
    assert found.problems == ()
    assert found.planes[:3] == session.planes[:3]
    assert found.planes[3:] == (
        SessionPlane(0, (0, 3)), SessionPlane(0, (1, 0)), SessionPlane(1, ()),
    )  # fmt: skip


def test_what_cannot_be_read_is_told_and_the_rest_is_had(filled: SessionFolder, nuclei) -> None:
    def damage(kind: str, stem: str, change) -> None:
        path = file(filled, kind, stem)
        data = path.read_bytes()
        change(path, data)
        found = filled.read()
        assert len(found.planes) == 4 and len(found.problems) == 1
        assert str(path) in found.problems[0] and found.problems[0].endswith(".")
        assert SessionFolder(filled.path).annotation_set().examples
        path.write_bytes(data)

    for kind in ("images", "masks"):
        damage(kind, "000-0-1", lambda path, _: path.unlink())
        damage(kind, "000-0-1", lambda path, data: path.write_bytes(data[: len(data) // 2]))
        damage(kind, "000-0-1", lambda path, data: path.write_bytes(data[:-9]))
        damage(kind, "000-0-1", lambda path, _: path.write_bytes(b""))
        damage(kind, "001", lambda path, _: path.write_bytes(b"\x89PNG"))
        damage(kind, "001", lambda path, _: tifffile.imwrite(path, nuclei[1][0][:100]))
    damage("masks", "001", lambda path, _: tifffile.imwrite(path, nuclei[1][0] * 0.5))
    damage("masks", "001", lambda path, _: tifffile.imwrite(path, np.stack(nuclei[1][:2])))
    session = filled.read()
    assert session.problems == () and len(session.planes) == 5

    file(filled, "masks", "007-1").write_bytes(file(filled, "masks", "001").read_bytes())
    assert "007-1.tif is left out: it belongs to no image" in filled.read().problems[0]
    with pytest.raises(SessionError, match=r"There is no file .*000-1-1\.tif"):
        filled.read_labels(SessionPlane(0, (1, 1)))


def test_each_flipped_bit_is_noticed_or_harmless(filled: SessionFolder) -> None:
    """Never another exception, and never other labels without a word."""
    plane = SessionPlane(1, ())
    path, labels = file(filled, "masks", "001"), filled.read_labels(plane)
    data, noticed = path.read_bytes(), 0
    places = [*range(200), *np.random.default_rng(0).integers(200, len(data), 60).tolist()]
    for place in places:
        path.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        try:
            assert (filled.read_labels(plane) == labels).all(), place
        except SessionError:
            noticed += 1
    assert noticed > 100


def plain_session(folder: SessionFolder) -> dict:
    return json.loads((folder.path / "session.json").read_text(encoding="utf-8"))


def test_sessions_that_cannot_be_read(filled: SessionFolder, tmp_path: Path) -> None:
    path = filled.path / "session.json"
    good = plain_session(filled)
    image, plane = good["images"][0], good["planes"][0]
    for message, content in (
        ("truncated, or no JSON", path.read_bytes()[:-20]),
        ("truncated, or no JSON", b""),
        ("truncated, or no JSON", b"\xff\xfe"),
        ("truncated, or no JSON", b"[" * 100_000),
        ("not the file of a session", []),
        ("not the file of a session", good | {"kind": "napari-ptsam prompt"}),
        (r"format 2, this one reads up to 1\); update napari-ptsam", good | {"version": 2}),
        ("names no valid version", good | {"version": "1"}),
        ("names no valid version", good | {"version": 0}),
        ("'planes' is missing", {k: v for k, v in good.items() if k != "planes"}),
        ("'axes' is missing", good | {"images": [{"name": "a", **dict.fromkeys(
            ("shape", "pixel_size", "path", "sample", "channels"))} | {"shape": []}]}),
        ("a list was expected where a dict", good | {"planes": {}}),
        ("a table was expected where a str", good | {"scheme": "dense"}),
        ("yes or no was expected", good | {"closed": 1}),
        ("same name", good | {"scheme": good["scheme"] | {"classes": ["a", "a"]}}),
        ("do not fit an image", good | {"images": [image | {"axes": "ZYX"}]}),
        ("nothing in it", good | {"images": [image | {"shape": [0, 5, 9, 9]}]}),
        ("'1' is missing in images.0.sample", good | {"images": [image | {"sample": ["a"]}]}),
        ("finite number", good | {"images": [image | {"pixel_size": {
            "y": "1", "x": 1, "z": None, "unit": ""}}]}),
        ("lies in none of the images", good | {"planes": [plane | {"image": 2}]}),
        ("lies in none of the images", good | {"planes": [plane | {"image": -1}]}),
        ("lies in none of the images", good | {"planes": [plane | {"index": [0, 5]}]}),
        ("lies in none of the images", good | {"planes": [plane | {"index": [0]}]}),
        ("there twice", good | {"planes": [plane, plane]}),
        ("whole number", good | {"planes": [plane | {"index": [0, 1.0]}]}),
        ("finite number", good | {"planes": [plane | {"dice": float("nan")}]}),
        ("finite number", good | {"settings": {"steps": float("inf")}}),
        ("not a valid file name", good | {"prompts": ["../001.pt"]}),
        ("not a valid file name", good | {"prompts": [".."]}),
        ("not a valid file name", good | {"prompts": ["C:\\a.pt"]}),
        ("a time is not of the form", good | {"saved": "yesterday"}),
        ("has no time zone", good | {"saved": "2026-01-01"}),
    ):  # fmt: skip
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        with pytest.raises(SessionError, match=message) as told:
            filled.read()
        assert str(filled.path) in str(told.value)
        assert unfinished_sessions(tmp_path) == []
        # What lies beside can still be had.
        assert filled.read_labels(SessionPlane(1, ())).any()
    path.write_text(
        json.dumps(good | {"settings": {"own": [1, {"deep": None}]}, "more": 1}), encoding="utf-8"
    )
    assert filled.read().settings == {"own": [1, {"deep": None}]}


def test_folders_that_are_no_sessions(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=r"There is no folder .*none; check"):
        SessionFolder(tmp_path / "none").read()
    with pytest.raises(
        SessionError, match=r"not a session folder, since it holds no session\.json"
    ):
        SessionFolder(tmp_path).read()
    (tmp_path / "session.json").mkdir()
    with pytest.raises(SessionError, match="not a session folder"):
        SessionFolder(tmp_path).read()
    (tmp_path / "file").touch()
    with pytest.raises(SessionError, match="There is no folder"):
        SessionFolder(tmp_path / "file").read()
    assert unfinished_sessions(tmp_path) == unfinished_sessions(tmp_path / "none") == []
    with pytest.raises(SessionError, match=r"can be made in .*file"):
        SessionFolder.create(tmp_path / "file", "a")


# What cannot be written


@pytest.mark.skipif(not Path("/proc/1").exists(), reason="needs a folder nobody may write to")
def test_a_folder_without_permission(prompt) -> None:
    locked = SessionFolder("/proc/1")  # not even root may write there
    labels = np.ones((128, 128), int)
    with pytest.raises(SessionError, match="No session folder can be made in /proc/1"):
        SessionFolder.create("/proc/1", "a")
    for write in (
        lambda: locked.write(FULL),
        lambda: locked.write_plane(FULL.planes[0], labels, labels),
        lambda: locked.save_prompt(prompt),
    ):
        with pytest.raises(SessionError, match=r"The session is not saved.*/proc/1"):
            write()


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    gone = SessionFolder(tmp_path / "gone")
    labels = np.ones((128, 128), int)
    with pytest.raises(SessionError, match=r"no folder .*gone"):
        gone.write(FULL)
    with pytest.raises(SessionError, match=r"gone.*cannot be made"):
        gone.write_plane(FULL.planes[0], labels, labels)
    assert not gone.path.exists()


def test_a_full_disk(filled: SessionFolder, tmp_path: Path, monkeypatch) -> None:
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    before = {path: path.read_bytes() for path in filled.path.rglob("*.*")}
    monkeypatch.setattr(tifffile, "imwrite", full)
    monkeypatch.setattr(Path, "write_text", full)
    plane, labels = SessionPlane(0, (0, 1)), np.ones((128, 128), int)
    for write in (
        lambda: filled.write(Session()),
        lambda: filled.write_plane(plane, None, labels),
        lambda: filled.write_plane(SessionPlane(0, (1, 1)), labels, labels),
    ):
        with pytest.raises(SessionError, match=r"not saved: .*\(no space left on device\)"):
            write()
    assert {path: path.read_bytes() for path in filled.path.rglob("*.*")} == before
    with pytest.raises(SessionError, match="no space left"):
        SessionFolder.create(tmp_path / "new", "a")
    assert list((tmp_path / "new").iterdir()) == []


def test_what_could_not_be_read_again_is_not_written(filled: SessionFolder) -> None:
    before = (filled.path / "session.json").read_bytes()
    session = filled.read()
    for wrong in (
        {"settings": {"steps": np.nan}},
        {"settings": {"path": Path()}},
        {"planes": (SessionPlane(0, (9, 9)),)},
        {"planes": session.planes[:1] * 2},
        {"prompts": ("a/b.pt",)},
        {"created": "today"},
    ):
        with pytest.raises(SessionError, match="cannot be read again"):
            filled.write(replace(session, **wrong))
    assert (filled.path / "session.json").read_bytes() == before
    filled.write(replace(session, settings={"steps": np.int64(5), "channels": (0, 1)}))
    assert filled.read().settings == {"steps": 5, "channels": [0, 1]}
    for labels, message in (
        (np.zeros((128, 128, 3), int), "do not fit the plane 001"),
        (np.zeros((100, 128), int), "do not fit the plane 001"),
        (np.zeros((128, 128)), "whole numbers"),
        (-np.ones((128, 128), int), "negative"),
    ):
        with pytest.raises(InputError, match=message):
            filled.write_plane(SessionPlane(1, ()), np.zeros((128, 128)), labels)


WRITER = """
import sys
from itertools import count
import numpy as np
from napari_ptsam.annotation.session_folder import SessionFolder
from napari_ptsam.annotation.session import Session, SessionImage, SessionPlane
folder = SessionFolder(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 1000, (400, 400))
images = (SessionImage("i", (9, 400, 400), "ZYX"),)
named = {}
folder.write(Session(images=images))
for i in count():
    z = i % 9
    plane = SessionPlane(0, (z,), done=True)
    if i % 4 == 3:
        named.pop(z, None)
        folder.write(Session(images=images, planes=tuple(named.values())))
        folder.remove_plane(plane)
    else:
        folder.write_plane(plane, noise.astype(np.uint16), noise + 1 + i)
        named[z] = plane
        folder.write(Session(images=images, planes=tuple(named.values())))
    if i == 2:
        print("started", flush=True)
"""


def test_a_kill_at_any_moment_leaves_a_session(folder: SessionFolder) -> None:
    noise = np.random.default_rng(0).integers(0, 1000, (400, 400))
    rng = np.random.default_rng(time.time_ns())
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder.path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "started\n"
        time.sleep(rng.uniform(0, 0.6))
        process.kill()
        process.communicate(timeout=60)
        session = folder.read()
        assert session.problems == () and session.planes
        for plane in session.planes:
            assert (folder.read_pixels(plane) == noise).all()
            labels = folder.read_labels(plane).astype(int)
            assert len(np.unique(labels - noise)) == 1  # of one moment, not half of another
        assert unfinished_sessions(folder.path.parent) == [folder.path]


# Prompts


def test_prompts_are_never_overwritten(filled: SessionFolder, prompt) -> None:
    first = filled.save_prompt(prompt)
    assert first == filled.path / "prompts" / "001.pt"
    data = first.read_bytes()
    (first.parent / "007.pt").write_bytes(b"mine")
    (first.parent / "best of all.pt").write_bytes(b"mine too")
    assert filled.save_prompt(prompt).name == "008.pt"
    assert first.read_bytes() == data and (first.parent / "007.pt").read_bytes() == b"mine"
    # What a kill kept session.json from naming is found; what is gone is told.
    filled.write(replace(filled.read(), prompts=("best of all.pt", "007.pt", "gone.pt")))
    found = filled.read()
    assert found.prompts == ("best of all.pt", "007.pt", "001.pt", "008.pt")
    assert len(found.problems) == 1 and "gone.pt" in found.problems[0]


def test_somebody_else_takes_the_name(filled: SessionFolder, prompt, monkeypatch) -> None:
    save = type(prompt).save

    def late(self, path, overwrite=False):
        if not path.exists() and path.name == "001.pt":
            path.write_bytes(b"theirs")
        return save(self, path, overwrite)

    monkeypatch.setattr(type(prompt), "save", late)
    assert filled.save_prompt(prompt).name == "002.pt"

    def full(self, path, overwrite=False):
        raise OutputError("The disk is full.")

    monkeypatch.setattr(type(prompt), "save", full)
    with pytest.raises(SessionError, match=r"The prompt is not saved: The disk is full\."):
        filled.save_prompt(prompt)


# Learning from it


def test_dense_sessions_count_what_is_done(filled: SessionFolder, nuclei) -> None:
    found = filled.annotation_set()
    names = ["cells, plane 0", "cells, plane 1", "cells, plane 3", "alone"]
    assert [e.name for e in found.examples] == names
    for example, number in zip(found.examples, (0, 1, 3, 4), strict=True):
        assert (example.pixels == nuclei[0][number]).all()
        assert (example.instances == nuclei[1][number]).all()
    assert [len(stack) for stack in found.stacks] == [4, 1]  # saved planes, done or not
    assert [e.stack for e in found.examples] == [0, 0, 0, 1]
    assert found.pixel_size is None and found.classes == ("object",) and len(found.held_out) == 1
    session = filled.read()
    filled.write(replace(session, planes=tuple(replace(p, done=False) for p in session.planes)))
    with pytest.raises(InputError, match="no plane is marked as done; finish and mark"):
        filled.annotation_set()


def test_planes_keep_their_index_in_the_stack(filled: SessionFolder, nuclei) -> None:
    plane = SessionPlane(0, (1, 2), done=True)
    filled.write_plane(plane, nuclei[0][5], nuclei[1][5])
    session = filled.read()
    filled.write(replace(session, planes=(plane,)))
    assert filled.annotation_set().examples[0].name == "cells, plane 7"


def test_sparse_sessions_count_what_has_labels(filled: SessionFolder) -> None:
    scheme = Scheme(("cell",), sparse=True)
    planes = [SessionPlane(0, (0, z), done=z == 2) for z in range(3)]
    filled.write(Session(scheme, (STACK,), tuple(planes)))
    labels = np.zeros((128, 128), np.uint8)
    filled.write_plane(planes[2], None, labels)
    labels[:9], labels[9:20] = 1, 2
    filled.write_plane(planes[0], None, labels)
    filled.remove_plane(SessionPlane(0, (0, 3)))
    filled.remove_plane(SessionPlane(1, ()))
    filled.remove_plane(planes[1])
    filled.write(Session(scheme, (STACK,), (planes[0], planes[2])))
    (example,) = filled.annotation_set().examples
    assert example.name == "cells, plane 0" and example.valid.sum() == 20 * 128
    filled.write_plane(planes[0], None, labels * 0)
    with pytest.raises(InputError, match="no plane has labels"):
        filled.annotation_set()


def test_the_split_is_that_of_the_session(filled: SessionFolder) -> None:
    session = filled.read()
    planes = tuple(replace(p, held_out=i == 3) for i, p in enumerate(session.planes))
    filled.write(replace(session, planes=planes))
    assert filled.annotation_set().held_out == {2}
    assert filled.annotation_set(part=0.5).held_out == {2}  # all are decided
    filled.write(replace(session, settings={"held_out": 0.5, "seed": 3}))
    assert len(filled.annotation_set().held_out) == 2
    assert len(filled.annotation_set(part=0.25).held_out) == 1
    assert filled.annotation_set(part=0.0).held_out == frozenset()
    chosen = {tuple(filled.annotation_set(part=0.25, seed=seed).held_out) for seed in range(9)}
    assert len(chosen) > 1
    filled.write(replace(session, settings={"held_out": "much"}))
    with pytest.raises(InputError, match=r"held_out is a number from 0 to 0.5, not 'much'"):
        filled.annotation_set()


def test_channels_and_colours_come_back_as_such(folder: SessionFolder, nuclei) -> None:
    grey = (nuclei[0][0] / nuclei[0][0].max() * 255).astype(np.uint8)
    for axes, rgb in (("ZYXS", True), ("ZYXC", False)):
        image = SessionImage("i", (5, 128, 128, 3), axes)
        plane = SessionPlane(0, (4,), done=True)
        folder.write(Session(images=(image,), planes=(plane,)))
        pixels = np.stack([grey, grey // 2, grey // 3], -1)
        folder.write_plane(plane, pixels, nuclei[1][0])
        (example,) = folder.annotation_set().examples
        assert example.rgb == rgb and (example.pixels == pixels).all()
        folder.remove_plane(plane)


# Which sessions there are


def test_unfinished_sessions_are_found(tmp_path: Path, nuclei) -> None:
    def make(name: str, labels: np.ndarray | None, **options: object) -> Path:
        folder = SessionFolder.create(tmp_path, name)
        plane = SessionPlane(0, (0, 0))
        folder.write(Session(images=(STACK,)))
        if labels is not None:
            folder.write_plane(plane, nuclei[0][0], labels)
        folder.write(Session(images=(STACK,), planes=(replace(plane, **options),)))
        time.sleep(0.005)
        return folder.path

    empty = np.zeros((128, 128), int)
    older = make("z", nuclei[1][0])
    newer = make("a", nuclei[1][0])
    done = make("done without objects", empty, done=True)
    make("blank", empty)
    make("without files", None, done=True)
    closed = SessionFolder(make("closed", nuclei[1][0]))
    closed.write(replace(closed.read(), closed=True))
    SessionFolder.create(tmp_path, "new")
    (make("broken", nuclei[1][0]) / "session.json").write_text("{", encoding="utf-8")
    damaged = make("damaged", nuclei[1][0])
    (damaged / "masks" / "000-0-0.tif").write_bytes(b"II*")
    (tmp_path / "file").touch()
    assert unfinished_sessions(tmp_path) == [done, newer, older]
    again = SessionFolder(older)
    again.write(again.read())
    assert unfinished_sessions(str(tmp_path)) == [older, done, newer]


def test_where_sessions_are_kept(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NAPARI_PTSAM_SESSIONS", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.setenv("NAPARI_PTSAM_SESSIONS", "~/mine")
    assert default_root() == Path.home() / "mine"
    monkeypatch.delenv("NAPARI_PTSAM_SESSIONS")
    assert default_root().name == "sessions" and "napari-ptsam" in default_root().parts


def test_importing_loads_no_torch() -> None:
    code = "import napari_ptsam.annotation.session_folder, sys; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout == "False\n"


# Settings


def test_settings_from_plain_values() -> None:
    assert training_settings({}) == training_settings({"preset": "normal"}) == TrainingSettings()
    assert set(PRESETS) == {"quick", "normal", "thorough", "paper"}
    quick = training_settings({"preset": "quick", "steps": None, "unknown": object()})
    assert (quick.steps, quick.embeddings) == (150, 48)
    thorough = training_settings({"preset": "thorough", "steps": 7})
    assert (thorough.steps, thorough.embeddings) == (7, 224)
    found = training_settings(
        {"tile": "whole", "channels": [0, 2], "held_out": 0, "seed": 5, "embeddings": 9,
         "normalization": {"mode": "stack", "low": 2, "high": None}}
    )  # fmt: skip
    assert found.tile == "whole" and found.channels == (0, 2) and found.seed == 5
    assert found.embeddings == 9 and found.held_out == 0
    assert found.detail == "auto"  # sessions of earlier versions do not say
    assert training_settings({"preset": "quick", "detail": "off"}).detail == "off"
    limits = found.normalization
    assert (limits.mode, limits.low, limits.high) == ("stack", 2.0, 99.8)
    for message, wrong in (
        ("no preset 'fast'; choose one of quick", {"preset": "fast"}),
        ("no preset", {"preset": []}),
        ("steps is a whole number", {"steps": "many"}),
        ("steps is a whole number", {"steps": True}),
        ("steps is a whole number from 1 up, not 0", {"steps": 0}),
        ("embeddings is a whole number from 1 up, not -1", {"embeddings": -1}),
        ("tile is a whole number", {"tile": "big"}),
        ("from 16 to 16,384, auto or whole, not 3", {"tile": 3}),
        ("held_out is a number", {"held_out": [1]}),
        ("detail is auto, on or off, not True", {"detail": True}),
        ("a number from 0 to 0.5, not 0.9", {"held_out": 0.9}),
        ("seed is a whole number", {"seed": 0.5}),
        ("Channels are a list", {"channels": "ab"}),
        ("Channels are a list", {"channels": 1}),
        ("has a mode", {"normalization": "plane"}),
        ("has a mode", {"normalization": {"low": 1}}),
        ("Unknown normalisation", {"normalization": {"mode": "log"}}),
        ("low of the normalization is a number", {"normalization": {"mode": "plane", "low": "1"}}),
        ("lower one first", {"normalization": {"mode": "range", "low": 5, "high": 1}}),
    ):
        with pytest.raises(InputError, match=message):
            training_settings(wrong)
