"""What is fuzzed: each reader of files from strangers, and valid inputs to begin with.

A target is a function that reads some bytes. It may raise `PtsamError`, which is a message for the
user; any other exception is a bug.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import roifile
import tifffile
import torch
from safetensors.torch import save as as_safetensors

from napari_ptsam.annotation.scheme import Scheme
from napari_ptsam.annotation.session import Session, SessionImage, SessionPlane, now
from napari_ptsam.annotation.session_folder import SessionFolder
from napari_ptsam.backbones.checkpoints import read_checkpoint
from napari_ptsam.datasets.object_files import coco_images, open_coco, open_objects
from napari_ptsam.errors import PtsamError
from napari_ptsam.images.normalize import Normalization
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.reading import open_image
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.prompts import text as prompt_text
from napari_ptsam.prompts.contents import to_plain
from napari_ptsam.prompts.describe import describe
from napari_ptsam.prompts.detail import DetailHead, parameter_count
from napari_ptsam.prompts.files import load, save
from napari_ptsam.prompts.prompt import Origin, Prompt

IMAGES = (
    Planes(np.zeros((48, 64), np.uint8), "YX", "plane"),
    Planes(np.zeros((2, 48, 64), np.uint8), "ZYX", "stack"),
)
"""Images that outlined objects belong to."""


@dataclass(frozen=True)
class Target:
    """A reader to fuzz.

    Attributes
    ----------
    read
        Reads the bytes, with a folder for temporary files.
    seeds
        Returns valid inputs.
    """

    read: Callable[[bytes, Path], object]
    seeds: Callable[[], Iterable[bytes]]


def a_prompt(detail: bool = False) -> Prompt:
    """Return a prompt that was never trained."""
    head = DetailHead(np.full(parameter_count(4), 0.5, np.float16), 4, 0.5)
    return Prompt(
        tokens=np.full((1, 8, 256), 0.25, np.float32), classes=("cells",), colours=("#E69F00",),
        backbone="vit_t", signature="0123456789abcdef",
        images=ImageSettings(Tiling(371), Normalization("range", 3.5, 200), (0, 2)),
        pixel_size=None, detail=(head,) if detail else (),
        origin=Origin(16, 3, 300, 4, 7, 0.91, False, "label", "2026-11-23", {"torch": "2"}),
    )  # fmt: skip


# Prompts


def read_prompt_file(data: bytes, folder: Path) -> None:
    path = folder / "a.pt"
    path.write_bytes(data)
    use(load(path), folder)


def read_prompt_values(data: bytes, folder: Path) -> None:
    """Read a prompt file whose values are those of a JSON text, with valid checksums."""
    try:
        changes = json.loads(data)
    except (ValueError, RecursionError):
        return
    plain = to_plain(a_prompt())
    plain["tokens"] = torch.from_numpy(plain["tokens"])
    if not isinstance(changes, dict):
        return
    file = io.BytesIO()
    torch.save({**plain, "sealed": None, **changes}, file)
    read_prompt_file(file.getvalue(), folder)


def use(prompt: Prompt, folder: Path) -> None:
    """Do with a prompt that was accepted what everybody does."""
    describe(prompt)
    save(prompt, folder / "b.pt", overwrite=True)
    load(folder / "b.pt")
    prompt_text.from_text(prompt_text.to_text(prompt))


def prompt_files() -> Iterable[bytes]:
    for detail in (False, True):
        file = io.BytesIO()
        plain = to_plain(a_prompt(detail))
        plain["tokens"] = torch.from_numpy(plain["tokens"])
        torch.save({k: v for k, v in plain.items() if k != "detail"}, file)
        yield file.getvalue()


def prompt_values() -> Iterable[bytes]:
    plain = to_plain(a_prompt())
    for key, value in plain.items():
        if key != "tokens":
            yield json.dumps({key: value}, default=str).encode()
    yield b'{"markers": [], "flips": ["x"], "thumbnail": "", "trained_channels": {"kind": "composite", "count": 2, "names": []}}'


def read_text(data: bytes, folder: Path) -> None:
    prompt_text.from_text(data.decode("latin-1"))


def read_text_content(data: bytes, folder: Path) -> None:
    """Read a prompt as text whose content is packed with a valid checksum."""
    packer = zlib.compressobj(zdict=prompt_text._KNOWN)
    packed = packer.compress(data) + packer.flush()
    coded = base64.b64encode(prompt_text._checksum(packed) + packed).decode()
    for mark in (prompt_text.MARK, prompt_text.WITH_DETAIL):
        with suppress(PtsamError):  # one of the two marks is wrong
            use(prompt_text.from_text(mark + coded), folder)


def texts() -> Iterable[bytes]:
    for detail in (False, True):
        yield prompt_text.to_text(a_prompt(detail)).encode()


def text_contents() -> Iterable[bytes]:
    for line in texts():
        packed = base64.b64decode(line.partition(b":")[2])[prompt_text.CHECK :]
        yield zlib.decompressobj(zdict=prompt_text._KNOWN).decompress(packed)


# Checkpoints and sessions


def read_checkpoint_file(data: bytes, folder: Path) -> None:
    for suffix in (".pt", ".safetensors"):
        path = folder / f"a{suffix}"
        path.write_bytes(data)
        with suppress(PtsamError):  # the bytes are one of the two at most
            read_checkpoint(path)


def checkpoints() -> Iterable[bytes]:
    tensors = {
        "mask_decoder.iou_token.weight": torch.zeros(1, 256),
        "image_encoder.a": torch.ones(2),
    }
    yield as_safetensors(tensors)
    for content in (tensors, {"model": {f"sam.{key}": tensors[key] for key in tensors}}, [1, "a"]):
        file = io.BytesIO()
        torch.save(content, file)
        yield file.getvalue()


def read_session(data: bytes, folder: Path) -> None:
    (folder / "session.json").write_bytes(data)
    session = SessionFolder(folder)
    found = session.read()
    session.has_annotation(found)
    session.planes_that_count(found)


def sessions() -> Iterable[bytes]:
    image = SessionImage("stack", (2, 48, 64), "ZYX")
    for scheme in (Scheme(), Scheme(("nuclei", "debris"), sparse=True, background=3)):
        planes = (SessionPlane(0, (1,), done=True, held_out=False, regions=((0, 0, 8, 8),)),)
        settings = {"preset": "quick", "channels": [0, 1]}
        session = Session(scheme, (image,), planes, settings, created=now(), saved=now())
        yield json.dumps(session.to_plain()).encode()


# Outlined objects


def read_roi(data: bytes, folder: Path) -> None:
    read_objects(data, folder / "a.roi")


def read_roi_archive(data: bytes, folder: Path) -> None:
    """Read an archive that holds the bytes as ROI; what begins as an archive is read as it is."""
    if not data.startswith(b"PK"):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.roi", data)
        data = file.getvalue()
    read_objects(data, folder / "a.zip")


def read_json(data: bytes, folder: Path) -> None:
    read_objects(data, folder / "a.geojson")
    path = folder / "a.json"
    read_objects(data, path)
    if coco_images(path) is not None:
        open_coco(path, IMAGES)


def read_cellpose(data: bytes, folder: Path) -> None:
    read_objects(data, folder / "a_seg.npy")


def read_objects(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    for image in IMAGES:
        for classes in (None, ["cell", "b"]):
            with suppress(PtsamError):  # others may be read
                masks = open_objects(path, image, classes)
                assert all(masks[number].shape == (48, 64) for number in range(len(masks)))


def rois() -> Iterable[bytes]:
    corners = np.array([[2, 3], [20, 3], [20, 30], [2, 25]], np.float32)
    yield roifile.ImagejRoi.frompoints(corners, name="cell").tobytes()
    for kind in (roifile.ROI_TYPE.RECT, roifile.ROI_TYPE.OVAL):
        roi = roifile.ImagejRoi.frompoints(corners)
        roi.roitype = kind
        yield roi.tobytes()


def jsons() -> Iterable[bytes]:
    ring = [2, 3, 20, 3, 20, 30]
    points = [[2, 3], [20, 3], [20, 30], [2, 3]]
    counts = {"counts": [100, 50, 48 * 64 - 150], "size": [48, 64]}
    for content in (
        {"images": [{"id": 1, "file_name": "plane"}, {"id": 2, "file_name": "stack"}],
         "categories": [{"id": 1, "name": "cell"}],
         "annotations": [{"image_id": 1, "category_id": 1, "segmentation": [ring], "iscrowd": 0},
                         {"image_id": 1, "category_id": 1, "segmentation": counts, "iscrowd": 1}]},
        {"shapes": [{"label": "cell", "points": points, "shape_type": "polygon"},
                    {"label": "b", "points": points[:2], "shape_type": "circle"}],
         "imageHeight": 48, "imageWidth": 64},
        {"type": "FeatureCollection", "features": [
            {"type": "Feature", "properties": {"classification": {"name": "cell"}},
             "geometry": {"type": "Polygon", "coordinates": [points]}},
            {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": [[points]]},
             "properties": {"plane": {"z": 1}}}]},
    ):  # fmt: skip
        yield json.dumps(content).encode()


def cellpose_files() -> Iterable[bytes]:
    file = io.BytesIO()
    content: Any = {"masks": np.ones((48, 64), np.uint16), "outlines": np.zeros((4, 4))}
    np.save(file, content, allow_pickle=True)
    yield file.getvalue()


# Images


def read_ome_xml(data: bytes, folder: Path) -> None:
    """Read a TIFF file with two pages whose description is the text."""
    path, pages = folder / "a.ome.tif", np.zeros((2, 20, 20), np.uint8)
    text = data.replace(b"\0", b"").decode("utf-8", "ignore").encode()
    tifffile.imwrite(path, pages, description=text or b" ", metadata=None, photometric="minisblack")
    image = open_image(path)
    image[0]
    image[len(image) - 1]


def read_tiff(data: bytes, folder: Path) -> None:
    path = folder / "a.tif"
    path.write_bytes(data)
    image = open_image(path)
    if len(image) * image.shape[0] * image.shape[1] < 10**7:
        image[len(image) - 1]


def ome_texts() -> Iterable[bytes]:
    file = io.BytesIO()
    tifffile.imwrite(
        file, np.zeros((2, 20, 20), np.uint8), ome=True,
        metadata={"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm",
                  "Channel": {"Name": ["a"]}, "TimeIncrement": 2.0},
    )  # fmt: skip
    file.seek(0)
    text = tifffile.TiffFile(file).ome_metadata or ""
    yield text.encode()
    yield (
        b'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1"><Image '
        b'ID="Image:0" Name="a"><Pixels DimensionOrder="XYZCT" Type="uint8" SizeX="20" SizeY="20" '
        b'SizeC="1" SizeZ="2" SizeT="1"><Channel SamplesPerPixel="1"/><TiffData FirstZ="0" IFD="0" '
        b'PlaneCount="1"><UUID FileName="a.ome.tif">urn:uuid:1</UUID></TiffData><TiffData FirstZ="1" '
        b'IFD="0" PlaneCount="1"><UUID FileName="b.ome.tif">urn:uuid:2</UUID></TiffData></Pixels>'
        b"</Image></OME>"
    )


def tiffs() -> Iterable[bytes]:
    for options in ({"imagej": True}, {"ome": True}, {"photometric": "minisblack"}):
        file = io.BytesIO()
        tifffile.imwrite(file, np.zeros((2, 20, 20), np.uint8), **options)
        yield file.getvalue()
    yield b"II*\0" + struct.pack("<I", 8)


TARGETS = {
    "prompt-files": Target(read_prompt_file, prompt_files),
    "prompt-values": Target(read_prompt_values, prompt_values),
    "text-lines": Target(read_text, texts),
    "text-contents": Target(read_text_content, text_contents),
    "checkpoints": Target(read_checkpoint_file, checkpoints),
    "sessions": Target(read_session, sessions),
    "roi": Target(read_roi, rois),
    "roi-archives": Target(read_roi_archive, rois),
    "json": Target(read_json, jsons),
    "cellpose": Target(read_cellpose, cellpose_files),
    "ome-xml": Target(read_ome_xml, ome_texts),
    "tiff": Target(read_tiff, tiffs),
}
"""Each target by its name."""
