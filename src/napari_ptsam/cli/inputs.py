"""Inputs and outputs of ``segment``."""

from __future__ import annotations

import os
import unicodedata
from argparse import Namespace
from collections.abc import Sequence
from glob import escape, glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ptsam.batch.formats import FORMATS, format_if_any, kinds_of_results
from napari_ptsam.datasets.mask_names import files_of, masks_among
from napari_ptsam.errors import InputError
from napari_ptsam.images.reading import is_image, natural_order
from napari_ptsam.images.zarrs import is_zarr

if TYPE_CHECKING:
    from napari_ptsam.images.planes import Planes


def find_images(inputs: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the image files that the inputs name.

    Parameters
    ----------
    inputs
        Files, folders, and patterns such as ``**/*.tif``.

    Returns
    -------
    images : list of Path
        The images.
    masks : list of Path
        Files of folders that are left out, since their names say that they are masks of others.

    Raises
    ------
    InputError
        If a pattern or a folder names no image.
    """
    images: dict[Path, None] = {}
    masks: list[Path] = []
    for source in inputs:
        if is_zarr(source) or not source.is_dir():
            if has_magic(str(source)) and not source.exists():
                images |= dict.fromkeys(_matching(source))
            else:
                images[existing(source)] = None
        else:
            files = files_of(source)
            masks += (found := masks_among(files))
            images |= {file: None for file in files if file not in found}
    return list(images), masks


def existing(path: Path) -> Path:
    """Return the path under which a file exists: letters with accents are written in two ways."""
    if not path.exists():
        for text in _spellings(str(path)):
            if Path(text).exists():
                return Path(text)
    return path


def _spellings(text: str) -> tuple[str, str, str]:
    """Return a text as it is, with composed and with decomposed letters."""
    return text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)


def _matching(pattern: Path) -> list[Path]:
    """Return images that match a pattern, without those inside of zarrs or unfinished runs."""
    for form in _forms(pattern):
        paths = map(Path, glob(form, recursive=True))  # noqa: PTH207 - it may be absolute
        matches = [
            path
            for path in paths
            if is_image(path) and not any(p.suffix in (".zarr", ".partial") for p in path.parents)
        ]
        if matches:
            return natural_order(matches)
    raise InputError(f"No image matches {pattern}; check the pattern.")


def _forms(pattern: Path) -> list[str]:
    """Return patterns to try, one after the other.

    Folders that exist are taken as they are, brackets included. Then all brackets are.
    """
    at = Path(pattern.anchor)
    parts, known = [], True
    for part in pattern.parts[bool(pattern.anchor) :]:
        at = at / part
        known = known and at.exists()
        parts.append((escape(part), True) if known else (part, False))
    named = Path(pattern.anchor, *(part for part, _ in parts))
    literal = (part if known else part.replace("[", "[[]") for part, known in parts)
    brackets = Path(pattern.anchor, *literal)
    return [text for path in (named, brackets) for text in _spellings(str(path))]


class Place:
    """The place for results: one file, or a folder.

    Parameters
    ----------
    options
        The options ``out`` and ``format`` of the command.
    sources
        The image files.
    prompts
        The names of the prompts.

    Raises
    ------
    InputError
        If the results cannot be written to that place.
    """

    def __init__(self, options: Namespace, sources: Sequence[Path], prompts: Sequence[str]) -> None:
        out: Path = options.out
        kind = format_if_any(out)
        a_folder = out.is_dir() and not (kind is not None and FORMATS[kind].is_folder)
        self.file = out if kind is not None and not a_folder else None
        self.folder = out if self.file is None else out.absolute().parent
        self.format: str = options.format or kind or "auto"
        self._prompts: Sequence[str | None] = prompts if len(prompts) > 1 else [None]
        if self.file is not None:
            self._check_file(options, kind, len(sources) * len(prompts))
        elif out.suffix and not a_folder:
            raise InputError(
                f"{out} is no folder, and results are {kinds_of_results()}; make the folder first, or "
                "use a name with one of these endings."
            )
        self._folders = _folders_for(sources) if self.file is None else {}

    def _check_file(self, options: Namespace, kind: str | None, count: int) -> None:
        if count > 1:
            raise InputError(
                f"{options.out} is one file, but there are {count} results; make the folder first "
                "that they go to, and name it."
            )
        if options.format not in (None, kind):
            raise InputError(
                f"{options.out} is no name for the format {options.format}; use one that ends in "
                f"{FORMATS[options.format].endings[0]}, or leave --format out."
            )

    def target(self, source: Path, planes: Planes, number: int, segmenter: object) -> Path:
        """Return the path for the result of an image and of the prompt with that number."""
        from napari_ptsam.batch.result_files import target_for

        if self.file is not None:
            target_for(self.folder, planes, "", segmenter, self.format)  # type: ignore[arg-type]
            return self.file
        return target_for(
            self.folder_for(source), planes, name_of(source), segmenter, self.format,  # type: ignore[arg-type]
            self._prompts[number],
        )  # fmt: skip

    def folder_for(self, source: Path) -> Path:
        """Return the folder for the results of an image."""
        return self.folder / self._folders.get(source, "")


def name_of(source: Path) -> str:
    """Return the name of an image without its extensions."""
    return source.name.removesuffix(source.suffix).removesuffix(".ome")


def _folders_for(sources: Sequence[Path]) -> dict[Path, Path]:
    """Return the folder in the results' folder for each image; images of one name need several.

    Raises
    ------
    InputError
        If images in one folder have the same name.
    """
    names = [name_of(source) for source in sources]
    if len(set(names)) == len(names):
        return {}
    places = [(source.absolute().parent, name) for source, name in zip(sources, names, strict=True)]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise InputError(
                f"Several inputs are called {place[1]}; segment them into different folders."
            )
    common = os.path.commonpath([folder for folder, _ in places])
    return {
        source: folder.relative_to(common)
        for source, (folder, _) in zip(sources, places, strict=True)
    }
