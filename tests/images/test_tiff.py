"""TIFF files that are read page by page: opened once, from any thread, and closed at the end."""

import gc
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile

import napari_ptsam as ptsam
from conftest_data import whole_plane
from napari_ptsam.images import tiff_pages
from napari_ptsam.images.reading import open_image


@pytest.fixture
def opened(monkeypatch) -> list[tifffile.TiffFile]:
    """All that tifffile opens."""
    found, whole = [], tifffile.TiffFile

    def open_file(path):
        found.append(whole(path))
        return found[-1]

    monkeypatch.setattr(tifffile, "TiffFile", open_file)
    return found


def write(path: Path, count: int = 12) -> np.ndarray:
    image = whole_plane()[0][:64, :80]
    stack = np.stack([np.roll(image, number, 0) for number in range(count)])
    with tifffile.TiffWriter(path) as file:
        for plane in stack:
            file.write(plane, compression="zlib", contiguous=False, metadata=None)
    return stack


def test_a_stack_is_opened_once_and_closed_at_the_end(tmp_path, opened) -> None:
    stack = write(tmp_path / "a.tif")
    planes = open_image(tmp_path / "a.tif")
    for number, plane in enumerate(planes):
        assert np.array_equal(plane, stack[number])
    assert len(opened) == 2  # to look at it, then for all planes
    del planes
    gc.collect()
    assert all(file.filehandle.closed for file in opened)


def test_threads_read_the_same_planes(tmp_path, opened) -> None:
    stack = write(tmp_path / "a.tif")
    planes = open_image(tmp_path / "a.tif")
    numbers = np.random.default_rng(0).integers(0, len(stack), 200).tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(planes.__getitem__, numbers))
    for number, plane in zip(numbers, found, strict=True):
        assert np.array_equal(plane, stack[number])
    assert len(opened) == 2


def test_only_so_many_files_stay_open(tmp_path, opened, monkeypatch) -> None:
    monkeypatch.setattr(tiff_pages, "MOST_OPEN", 3)
    stack = write(tmp_path / "0.tif", 2)
    for number in range(1, 8):
        (tmp_path / f"{number}.tif").write_bytes((tmp_path / "0.tif").read_bytes())
    images = [open_image(tmp_path / f"{number}.tif") for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for plane in pool.map(lambda planes: planes[1], images):
                assert np.array_equal(plane, stack[1])
    images[0][0]
    assert sum(not file.filehandle.closed for file in opened) <= 3


def test_a_file_that_fails_is_closed_and_tried_anew(tmp_path, opened) -> None:
    write(tmp_path / "a.tif")
    whole = (tmp_path / "a.tif").read_bytes()
    planes = open_image(tmp_path / "a.tif")
    (tmp_path / "a.tif").write_bytes(whole[:200])
    with pytest.raises(ptsam.InputError, match="truncated, damaged"):
        planes[5]
    assert all(file.filehandle.closed for file in opened)
    (tmp_path / "a.tif").write_bytes(whole)
    assert planes[5].shape == (64, 80)


def test_what_tifffile_logs_is_kept_from_this_thread_only(tmp_path, caplog) -> None:
    logger = logging.getLogger("tifffile")
    with tiff_pages.COMPLAINTS.collected() as own:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(logger.warning, "of another program").result()
        logger.warning("invalid page offset")
        with tiff_pages.COMPLAINTS.collected() as inner:
            logger.warning("missing page")
    assert (own, inner) == (["invalid page offset"], ["missing page"])
    assert caplog.messages == ["of another program"]
    logger.warning("after it")
    assert caplog.messages[-1] == "after it" and logger.propagate


def test_opening_files_in_threads_leaves_the_logger_as_it_was(tmp_path) -> None:
    write(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:-9000])
    logger = logging.getLogger("tifffile")
    before = logger.propagate, list(logger.handlers), list(logger.filters)

    def look(number: int) -> str:
        try:
            return str(len(open_image(tmp_path / f"{'ab'[number % 2]}.tif")))
        except ptsam.InputError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(look, range(60)))
    assert set(told[::2]) == {"12"} and all("damaged" in one for one in told[1::2])
    assert (logger.propagate, logger.handlers, logger.filters) == before
