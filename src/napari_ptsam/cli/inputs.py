"""What ``segment`` reads and where it writes."""

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
    """Image files that the inputs name: files, folders, and patterns such as ``**/*.tif``.

    Raises
    ------
    InputError
        If one of them names nothing.
    """
    found: dict[Path, None] = {}
    for source in inputs:
        if is_zarr(source) or not source.is_dir():
            if has_magic(str(source)) and not source.exists():
                found |= dict.fromkeys(_matching(source))
            else:
                found[source] = None
        else:
            found |= dict.fromkeys(list_images(source))
    return list(found)


def _matching(pattern: Path) -> list[Path]:
    """Images that match a pattern, but none inside of others or of unfinished runs."""
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
    """Where results go: into one file, or into a folder.

    Parameters
    ----------
    options
        ``out`` and ``format``.
    sources
        The images.
    prompts
        Names of the prompts.

    Raises
    ------
    InputError
        If the place does not fit what goes there.
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
                "give a name with one of these endings."
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
                "that they are to go to, and name it."
            )
        if options.format not in (None, kind):
            raise InputError(
                f"{options.out} is no name for the format {options.format}; let it end in "
                f"{FORMATS[options.format].endings[0]}, or leave --format out."
            )

    def target(self, source: Path, planes: Planes, number: int, segmenter: object) -> Path:
        """Where the result of an image and the prompt of that number goes."""
        from napari_ptsam.batch.result_files import target_for

        if self.file is not None:
            target_for(self.folder, planes, "", segmenter, self.format)  # type: ignore[arg-type]
            return self.file
        return target_for(
            self.folder, planes, name_of(source), segmenter, self.format,  # type: ignore[arg-type]
            self._prompts[number],
        )  # fmt: skip


def name_of(source: Path) -> str:
    """An image's name without its endings."""
    return source.name.removesuffix(source.suffix).removesuffix(".ome")
