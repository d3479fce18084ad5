"""Find the masks of images by their names, as programs and people choose them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from napari_ptsam.datasets.object_files import composed, is_object_file
from napari_ptsam.errors import InputError
from napari_ptsam.images.locations import one_of_each_image, without_endings
from napari_ptsam.images.reading import is_image, list_images, natural_order

MASK_WORDS = (
    "seg", "cp_masks", "masks", "mask", "labels", "label", "RoiSet", "rois", "segmentation",
    "simple segmentation", "annotations", "annotation", "instances", "objects", "gt",
)  # fmt: skip
"""What is added to the name of an image for the file of its mask, the preferred ones first:
Cellpose's window goes on with its file ``_seg.npy`` and exports ``_cp_masks``."""
IMAGE_WORDS = ("img", "image", "im", "raw")
"""What is added to the name of an image beside that of its mask."""
OTHER_WORDS = ("flows", "cp_output", "outlines", "cp_outlines", "probabilities")
"""What is added for results that are neither images nor masks."""
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "raw")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "gt", "ground_truth")

Pair = tuple[Path, Path]


def stem_of(path: Path) -> str:
    """Return the name of a file without its endings."""
    return composed(without_endings(path))


def without_word(stem: str, words: Sequence[str]) -> tuple[str, int] | None:
    """Return a name without the word at its end or start, and the number of the word, or None."""
    for number, word in sorted(enumerate(words), key=lambda item: -len(item[1])):
        at_end = re.fullmatch(rf"(.+?)[ _.-]{re.escape(word)}", stem, re.IGNORECASE)
        at_start = re.fullmatch(rf"{re.escape(word)}[ _.-](.+)", stem, re.IGNORECASE)
        if found := at_end or at_start:
            return found[1], number
    return None


def files_of(folder: Path, accepts: Callable[[Path], bool] | None = None) -> dict[Path, str]:
    """Return the files of a folder in natural order, each with its folder relative to it.

    If the folder itself holds none, those of the folders in it are returned.

    Raises
    ------
    InputError
        If there are none, or the folder cannot be read.
    """
    try:
        return dict.fromkeys(list_images(folder, accepts), "")
    except InputError:
        nested = _nested_files(folder, accepts or is_image)
        if not nested:
            raise
        return nested


def _nested_files(folder: Path, accepts: Callable[[Path], bool]) -> dict[Path, str]:
    found: dict[Path, str] = {}
    try:
        for place, folders, names in os.walk(folder):
            parent = Path(place)
            zarrs = [name for name in folders if name.endswith(".zarr")]
            hidden = [n for n in folders if n.startswith(".") or n.endswith((".partial", ".zarr"))]
            folders[:] = sorted(set(folders) - set(hidden))
            paths = [parent / name for name in (*names, *zarrs) if not name.startswith(".")]
            where = composed(parent.relative_to(folder).as_posix())
            found |= dict.fromkeys(natural_order(filter(accepts, paths)), where)
    except OSError:
        return {}
    return found


def is_mask_file(path: Path) -> bool:
    """Return whether a file may hold masks or outlined objects."""
    return is_image(path) or is_object_file(path)


def pairs_of_folders(
    image_folder: Path, mask_folder: Path
) -> tuple[list[Pair], list[Path], list[Path]]:
    """Pair the files of two folders by name.

    Returns
    -------
    pairs : list of (Path, Path)
        Image and mask.
    images, masks : list of Path
        Files without a partner.

    Raises
    ------
    InputError
        If a folder holds no files, two masks have the same name, or the folders are swapped.
    """
    images, masks = files_of(image_folder), files_of(mask_folder, is_mask_file)
    if len(masks) < len(images):  # a mask may be that of an image in several files
        images = {path: images[path] for path in one_of_each_image(images)}
    found = _matched(images, masks)
    if not found[0] and _matched(masks, images)[0]:
        raise InputError(
            f"By their names, {mask_folder} holds the images and {image_folder} the masks; name the "
            "images first, and then the masks."
        )
    if not found[0]:  # files in nested folders are of no use without partners
        list_images(image_folder), list_images(mask_folder, is_mask_file)
    return found


def pairs_in_folder(folder: Path) -> tuple[list[Pair], list[Path], list[Path]]:
    """Pair the images of a folder with the masks in the same folder; see `pairs_of_folders`."""
    subfolders = [_subfolder(folder, names) for names in (IMAGE_FOLDERS, MASK_FOLDERS)]
    if subfolders[0] is not None and subfolders[1] is not None:
        return pairs_of_folders(subfolders[0], subfolders[1])
    files = files_of(folder, is_mask_file)
    masks = masks_among(files)
    images = {
        path: where
        for path, where in files.items()
        if path not in masks and is_image(path) and without_word(stem_of(path), OTHER_WORDS) is None
    }
    pairs, alone, masks = _matched(images, {path: files[path] for path in masks})
    return pairs, alone, [path for path in masks if is_image(path)]


def masks_among(files: Iterable[Path]) -> list[Path]:
    """Return the files that are masks of other files, by their names, in the same order."""
    files = list(files)
    images: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        for key in _image_keys(path):
            images.setdefault((path.parent, key), []).append(path)
    masks = []
    for path in files:
        found = without_word(stem_of(path), MASK_WORDS)
        if is_object_file(path) or (
            found is not None
            and any(other != path for other in images.get((path.parent, found[0]), ()))
        ):
            masks.append(path)
    return masks


def _subfolder(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _image_keys(path: Path) -> list[str]:
    stem = stem_of(path)
    found = without_word(stem, IMAGE_WORDS)
    return [stem] if found is None else [stem, found[0]]


def _matched(
    images: dict[Path, str], masks: dict[Path, str]
) -> tuple[list[Pair], list[Path], list[Path]]:
    """Pair by folder and name; the same name comes before one with a word more."""
    by_key: dict[tuple[str, str], list[tuple[int, Path]]] = {}
    for path, where in masks.items():
        stem = stem_of(path)
        found = without_word(stem, MASK_WORDS)
        by_key.setdefault((where, stem), []).append((-1, path))
        if found is not None:
            by_key.setdefault((where, found[0]), []).append((found[1], path))
    pairs, alone, used = [], [], set()
    seen: dict[tuple[str, str], Path] = {}
    for image, where in images.items():
        twin = seen.setdefault((where, stem_of(image)), image)
        if twin != image:
            raise _same_name(twin, image)
        candidates = next(
            (by_key[where, key] for key in _image_keys(image) if (where, key) in by_key), []
        )
        ranked = sorted(candidates, key=lambda candidate: candidate[0])
        if len(ranked) > 1 and ranked[0][0] == ranked[1][0]:
            raise _same_name(ranked[0][1], ranked[1][1])
        if ranked:
            pairs.append((image, ranked[0][1]))
            used |= {path for _, path in ranked}
        else:
            alone.append(image)
    return pairs, alone, [path for path in masks if path not in used]


def _same_name(one: Path, other: Path) -> InputError:
    return InputError(
        f"{one.name} and {other.name} in {one.parent} have the same name; keep one of them."
    )
