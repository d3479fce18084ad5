"""Inputs and outputs of ``segment``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ptsam.batch.formats import FORMATS, format_if_any, kinds_of_results
from napari_ptsam.errors import InputError
from napari_ptsam.images.reading import is_image, list_images, natural_order
from napari_ptsam.images.zarrs import is_zarr

if TYPE_CHECKING:
    from napari_ptsam.images.planes import Planes


def find_images(inputs: Sequence[Path]) -> list[Path]:
    """Return the image files that the inputs name.

    Parameters
    ----------
    inputs
        Files, folders, and patterns such as ``**/*.tif``.

    Raises
    ------
    InputError
        If a pattern or a folder names no image.
    """
    images: dict[Path, None] = {}
    for source in inputs:
        if is_zarr(source) or not source.is_dir():
            if has_magic(str(source)) and not source.exists():
                images |= dict.fromkeys(_matching(source))
            else:
                images[source] = None
        else:
            images |= dict.fromkeys(list_images(source))
    return list(images)


def _matching(pattern: Path) -> list[Path]:
    """Return images that match a pattern, without those inside of zarrs or unfinished runs."""
    paths = map(Path, glob(str(pattern), recursive=True))  # noqa: PTH207 - it may be absolute
    matches = [
        path
        for path in paths
        if is_image(path) and not any(p.suffix in (".zarr", ".partial") for p in path.parents)
    ]
    if not matches:
        raise InputError(f"No image matches {pattern}; check the pattern.")
    return natural_order(matches)


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
        names = [name_of(source) for source in sources]
        for name in names:
            if self.file is None and names.count(name) > 1:
                raise InputError(
                    f"Several inputs are called {name}; segment them into different folders."
                )

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
            self.folder, planes, name_of(source), segmenter, self.format,  # type: ignore[arg-type]
            self._prompts[number],
        )  # fmt: skip


def name_of(source: Path) -> str:
    """Return the name of an image without its extensions."""
    return source.name.removesuffix(source.suffix).removesuffix(".ome")
