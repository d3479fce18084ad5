"""Outlines that were drawn in other programs, as masks."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import roifile
import tifffile

import napari_ptsam as ptsam
from conftest_cli import fails
from conftest_objects import as_rois, rings_of
from napari_ptsam.datasets.annotated_planes import MaskReading, annotate
from napari_ptsam.datasets.object_files import coco_images, open_objects, plain_stem
from napari_ptsam.datasets.pairing import pair
from napari_ptsam.errors import InputError
from napari_ptsam.images.planes import Planes


def as_labelme(path: Path, rings, shape) -> Path:
    shapes = [
        {"label": "nucleus", "shape_type": "polygon", "points": np.round(ring, 2).tolist()}
        for ring in rings
    ]
    content = {"shapes": shapes, "imageHeight": shape[0], "imageWidth": shape[1]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def as_geojson(path: Path, rings, shape) -> Path:
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]},
            "properties": {"objectType": "annotation", "classification": {"name": "nucleus"}},
        }
        for ring in rings
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")
    return path


def as_coco(path: Path, planes: dict[str, list[np.ndarray]], shape) -> Path:
    images = [
        {"id": n, "file_name": name, "height": shape[0], "width": shape[1]}
        for n, name in enumerate(planes)
    ]
    annotations = [
        {"id": 1, "image_id": n, "category_id": 3, "segmentation": [ring.ravel().tolist()]}
        for n, rings in enumerate(planes.values())
        for ring in rings
    ]
    content = {
        "images": images, "annotations": annotations, "categories": [{"id": 3, "name": "nucleus"}],
    }  # fmt: skip
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def as_seg(path: Path, mask: np.ndarray) -> Path:
    content = {"masks": mask, "outlines": mask > 0, "chan_choose": [0, 0], "filename": "a.tif"}
    np.save(path, content, allow_pickle=True)
    return path


KINDS = {
    "a_RoiSet.zip": lambda path, mask: as_rois(path, rings_of(mask)),
    "a.json": lambda path, mask: as_labelme(path, rings_of(mask), mask.shape),
    "a.geojson": lambda path, mask: as_geojson(path, rings_of(mask), mask.shape),
    "a_seg.npy": as_seg,
}


def same_objects(found: np.ndarray, mask: np.ndarray) -> bool:
    """Whether each object of the mask is one object that hardly differs."""
    values = np.unique(mask[mask > 0])
    for value in values:
        number = np.bincount(found[mask == value]).argmax()
        both = ((found == number) & (mask == value)).sum()
        either = ((found == number) | (mask == value)).sum()
        if number == 0 or both < 0.97 * either:
            return False
    return len(np.unique(found[found > 0])) == len(values)


@pytest.mark.parametrize("name", KINDS)
def test_real_nuclei_come_back(name: str, nuclei, tmp_path: Path) -> None:
    image, mask = nuclei[0][0], nuclei[1][0].astype(np.int32)
    folders = tmp_path / "images", tmp_path / "objects"
    for folder in folders:
        folder.mkdir()
    tifffile.imwrite(folders[0] / "a.tif", image)
    KINDS[name](folders[1] / name, mask)
    images, masks = pair(*folders)
    assert same_objects(masks[0][0], mask)
    (example,) = annotate(images, masks).examples
    assert np.array_equal(example.labels > 0, masks[0][0] > 0)
    alone = pair(folders[0] / "a.tif", folders[1] / name)[1][0]
    assert np.array_equal(alone[0], masks[0][0])


def test_one_coco_file_for_a_folder(nuclei, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, image in zip("abc", nuclei[0], strict=False):
        tifffile.imwrite(folder / f"{name}.tif", image)
    rings = {f"{name}.tif": rings_of(mask) for name, mask in zip("ab", nuclei[1], strict=False)}
    path = as_coco(tmp_path / "coco.json", rings, nuclei[0][0].shape)
    images, masks = pair(folder, path)
    assert [image.name for image in images] == ["a.tif", "b.tif"]
    for mask, expected in zip(masks, nuclei[1], strict=False):
        assert same_objects(mask[0], expected.astype(np.int32))
    assert len(annotate(images, masks).examples) == 2


def test_run_lengths_of_coco(tmp_path: Path) -> None:
    from pycocotools import mask as coco_mask

    mask = np.zeros((20, 30), bool)
    mask[3:9, 4:20] = True
    # Columns follow each other; the first run is background.
    runs = [len(list(group)) for _, group in groupby(mask.T.ravel())]
    packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    for segmentation in (
        {"size": [20, 30], "counts": runs},
        {"size": [20, 30], "counts": packed["counts"].decode()},
    ):
        content = {
            "images": [{"id": 7, "file_name": "a.tif"}],
            "annotations": [{"image_id": 7, "category_id": 1, "segmentation": segmentation}],
            "categories": [{"id": 1, "name": "x"}],
        }
        (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
        found = open_objects(tmp_path / "a.json", Planes(np.zeros((20, 30)), "YX", "a.tif"))
        assert np.array_equal(found[0] > 0, mask)


def square(x: float, y: float, side: float) -> np.ndarray:
    return np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side)])


def test_holes_and_whole_pixels(tmp_path: Path) -> None:
    rings = [[*square(4, 2, 10).tolist()], [*square(6, 4, 3).tolist()]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": rings}}
    (tmp_path / "a.geojson").write_text(json.dumps(feature), encoding="utf-8")
    expected = np.zeros((20, 30), int)
    expected[2:12, 4:14] = 1
    expected[4:7, 6:9] = 0
    found = open_objects(tmp_path / "a.geojson", Planes(np.zeros((20, 30))))
    assert np.array_equal(found[0], expected)


@pytest.mark.parametrize(
    ("classes", "values"),
    [(None, [1, 2]), (("debris",), [0, 1]), (("cell",), [1, 2]), (("debris", "nucleus"), [2, 1])],
)
def test_classes_of_objects(classes, values, tmp_path: Path) -> None:
    shapes = [
        {"label": name, "shape_type": "rectangle", "points": [[x, 2], [x + 5, 8]]}
        for name, x in (("nucleus", 2), ("debris", 20))
    ]
    (tmp_path / "a.json").write_text(json.dumps({"shapes": shapes}), encoding="utf-8")
    found = open_objects(tmp_path / "a.json", Planes(np.zeros((20, 30))), classes)[0]
    assert [found[4, 4], found[4, 22]] == values


def test_a_stack_takes_the_position_of_each_roi(tmp_path: Path) -> None:
    rings = [square(2, 2, 5), square(10, 10, 5)]
    path = as_rois(tmp_path / "a.zip", rings, [1, 3])
    found = open_objects(path, Planes(np.zeros((4, 20, 30)), "ZYX"))
    assert [int((plane > 0).sum()) for plane in found] == [25, 0, 25, 0]
    with pytest.raises(InputError, match="only 0 to 1"):
        open_objects(path, Planes(np.zeros((2, 20, 30)), "ZYX"))
    path = as_rois(tmp_path / "b.zip", rings)
    with pytest.raises(InputError, match="does not say on which plane"):
        open_objects(path, Planes(np.zeros((4, 20, 30)), "TYX"))


def test_a_line_has_no_area(tmp_path: Path) -> None:
    roi = roifile.ImagejRoi.frompoints(square(1, 1, 4))
    roi.roitype, roi.name = roifile.ROI_TYPE.FREELINE, "axis"
    roi.tofile(tmp_path / "a.roi")
    with pytest.raises(InputError, match=r"freeline \(axis\), which has no area"):
        open_objects(tmp_path / "a.roi", Planes(np.zeros((20, 30))))


class _Harm:
    def __reduce__(self):
        return print, ("code was run",)


def test_no_code_is_run(tmp_path: Path, capsys) -> None:
    np.save(tmp_path / "a_seg.npy", {"masks": _Harm()}, allow_pickle=True)
    with pytest.raises(InputError, match="damaged or of another kind"):
        open_objects(tmp_path / "a_seg.npy", Planes(np.zeros((20, 30))))
    assert "code was run" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a.json", "a.zip", "a.roi", "a.geojson", "a_seg.npy"])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, 2]", b"{}", b"null", b"\x93NUMPY\x01", b"PK\3\4"]
)
def test_damaged_files(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="damaged or of another kind"):
        open_objects(tmp_path / name, Planes(np.zeros((20, 30))))


def test_a_coco_file_that_names_no_images(tmp_path: Path) -> None:
    """It was found by fuzzing: the names are read before the objects."""
    path = tmp_path / "objects.json"
    for images in ([{"id": 1}], [1], 1):
        path.write_text(json.dumps({"images": images, "annotations": []}), encoding="utf-8")
        with pytest.raises(InputError, match="damaged or of another kind"):
            coco_images(path)


def test_an_outline_without_corners_covers_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.roi").write_bytes(roifile.ImagejRoi(roitype=roifile.ROI_TYPE.POLYGON).tobytes())
    corners = [[2, 2], [9, 2], [9, 9]]
    shapes = [{"label": "", "points": points, "shape_type": "polygon"} for points in ([], corners)]
    (tmp_path / "a.json").write_text(json.dumps({"shapes": shapes}), encoding="utf-8")
    for name, count in (("a.roi", 0), ("a.json", 1)):
        mask = open_objects(tmp_path / name, Planes(np.zeros((20, 30))))[0]
        assert mask.max() == count


@pytest.mark.parametrize("far", ["1e30", "-1e30", "1e400", "NaN"])
def test_a_corner_far_outside_of_any_image(far: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    shape = f'{{"label": "", "points": [[2, 2], [9, {far}], [9, 9]], "shape_type": "polygon"}}'
    path.write_text(f'{{"shapes": [{shape}]}}', encoding="utf-8")
    with pytest.raises(InputError, match="damaged or of another kind"):
        open_objects(path, Planes(np.zeros((20, 30))))


def test_masks_of_another_image(tmp_path: Path) -> None:
    as_seg(tmp_path / "a_seg.npy", np.zeros((30, 30), int))
    with pytest.raises(InputError, match="is it the file of another image"):
        open_objects(tmp_path / "a_seg.npy", Planes(np.zeros((20, 30))))
    found = open_objects(tmp_path / "a_seg.npy", Planes(np.zeros((1, 30, 30)), "ZYX"))
    assert found.leading == (1,)


def test_names_of_files() -> None:
    for name in ("a_RoiSet.zip", "RoiSet_a.zip", "a_seg.npy", "a.json", "a.roi"):
        assert plain_stem(Path(name)) == "a"


def test_a_training_learns_from_rois(nuclei, tmp_path: Path, loaded, device: str) -> None:
    path = as_rois(tmp_path / "a.zip", rings_of(nuclei[1][0]))
    tifffile.imwrite(tmp_path / "a.tif", nuclei[0][0])
    prompt = ptsam.train(
        tmp_path / "a.tif", path, steps=4, embeddings=1, tile="whole", minutes=0, detail="off",
        markers="no", device=device,
    )  # fmt: skip
    assert prompt.origin.images == 1


def test_the_command_line_names_the_problem(tmp_path: Path, capsys) -> None:
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((32, 32), np.uint8))
    out = tmp_path / "a.pt"
    fails(
        capsys, "damaged or of another", "train", tmp_path / "a.tif", tmp_path / "a.json", "-o", out
    )


def test_annotations_keep_their_reading(nuclei, tmp_path: Path) -> None:
    path = as_labelme(tmp_path / "a.json", rings_of(nuclei[1][0]), nuclei[0][0].shape)
    tifffile.imwrite(tmp_path / "a.tif", nuclei[0][0])
    reading = MaskReading(("nucleus",))
    annotated = annotate(*pair(tmp_path / "a.tif", path, None, reading.classes), reading)
    assert annotated.classes == ("nucleus",) and annotated.examples[0].instances is not None


def test_corners_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    shapes = [
        {"label": "x", "shape_type": "polygon", "points": [[1, 1], [float("nan"), 5], [9, 9]]}
    ]
    (tmp_path / "a.json").write_text(json.dumps({"shapes": shapes}), encoding="utf-8")
    with pytest.raises(InputError, match="damaged or of another kind"):
        open_objects(tmp_path / "a.json", Planes(np.zeros((20, 30))))
