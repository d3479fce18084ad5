"""Where the real images are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from scipy import ndimage

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("PTSAM_DATA", ROOT.parent / "shared" / "data"))
"""Annotated sets; PTSAM_DATA names another folder of the same layout."""


def unreadable(array: np.ndarray, *planes: int) -> Any:
    """Return a dask array of the same planes, of which some cannot be read."""
    import dask.array as da

    def block(block_info: Any = None) -> np.ndarray:
        number = block_info[None]["array-location"][0][0]
        if number in planes:
            raise OSError("bad sector")
        return array[number][None]

    chunks = ((1,) * len(array), *((side,) for side in array.shape[1:]))
    return da.map_blocks(block, chunks=chunks, dtype=array.dtype, meta=array[:0])


def damage_page(path: Path, number: int) -> None:
    """Overwrite the compressed pixels of a page of a TIFF."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[number]
        start, count = page.dataoffsets[0], page.databytecounts[0]
    data = bytearray(path.read_bytes())
    data[start : start + count] = b"\xff" * count
    path.write_bytes(data)


def real_pair(name: str, number: int = 0, part: str = "train") -> tuple[Path, Path]:
    """Paths of an image and its mask; the test is skipped where they are not to be had."""
    folder = DATA / name / part
    if not folder.is_dir():
        pytest.skip(f"needs {DATA / name} (set PTSAM_DATA)")
    return folder / "images" / f"{number:03}.tif", folder / "masks" / f"{number:03}.tif"


def whole_plane(number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A whole plane of nuclei and its instances, uint16; of the bundled sample without the real ones.

    For tests that want an image of a microscope, whichever it is.
    """
    if (DATA / "bbbc039_nuclei").is_dir():
        image, mask = (tifffile.imread(path) for path in real_pair("bbbc039_nuclei", number))
        return image, mask
    from napari_ptsam.datasets.sample import make_sample

    sample = make_sample()
    return sample.images[4 + 6 * number], sample.instances[4 + 6 * number]


def drawn_nuclei(seed: int, side: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Draw eight bright nuclei that lie apart, with noise: uint16, and their instances."""
    rng = np.random.default_rng(seed)
    image, instances = np.full((side, side), 200.0), np.zeros((side, side), np.uint16)
    rows, columns = np.mgrid[:side, :side]
    for place in range(8):  # of nine; one corner stays empty
        centre = (np.array(divmod(place, 3)) + 0.5) * side / 3 + rng.uniform(-4, 4, 2)
        height, width = rng.uniform(8, 14, 2)
        inside = ((rows - centre[0]) / height) ** 2 + ((columns - centre[1]) / width) ** 2 < 1
        image[inside] = rng.uniform(700, 1400)
        instances[inside] = place + 1
    image = ndimage.gaussian_filter(image, 1.5) + rng.normal(0, 15, image.shape)
    return image.astype(np.uint16), instances


def crops(side: int = 128) -> list[tuple[np.ndarray, np.ndarray]]:
    """Six crops of nuclei and their instances; drawn ones without the real images."""
    if not (DATA / "bbbc039_nuclei").is_dir():
        return [drawn_nuclei(seed, side) for seed in range(6)]
    found = []
    for image, mask in map(whole_plane, range(6)):
        # The crop with most foreground of a few: some corners are empty.
        corners = [(y, x) for y in (0, 192, 384) for x in (0, 192, 384)]
        windows = [(slice(y, y + side), slice(x, x + side)) for y, x in corners]
        window = max(windows, key=lambda window: (mask[window] > 0).sum())
        found.append((image[window], mask[window]))
    return found
