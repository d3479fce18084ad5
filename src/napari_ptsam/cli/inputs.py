"""Inputs and outputs of ``segment``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ptsam.batch.formats import FORMATS, format_if_any, kinds_of_results
from napari_ptsam.errors import InputError
from napari_ptsam.images.addresses import Address, Location
from napari_ptsam.images.locations import images_at, one_of_each_image, outermost, result_name
from napari_ptsam.images.patterns import matching
from napari_ptsam.images.reading import list_images
from napari_ptsam.images.zarrs import is_zarr, zarr_images
from napari_ptsam.io.writing import make_folder

if TYPE_CHECKING:
    from napari_ptsam.images.planes import Planes


def find_images(inputs: Sequence[Location]) -> list[Location]:
    """Return the images that the inputs name.

    Parameters
    ----------
    inputs
        Files, folders, addresses, and patterns such as ``**/*.tif``. Plates, and
        files with several images, stand for all their images. Files that hold an
        image together are named once.

    Raises
    ------
    InputError
        If a pattern or a folder names no image.
    """
    images: dict[Location, None] = {}
    files: list[Path] = []
    for source in inputs:
        if isinstance(source, Address):
            images |= dict.fromkeys(_at_address(source))
        elif is_zarr(source) or not source.is_dir():
            is_pattern = has_magic(str(source)) and not source.exists()
            files += matching(source) if is_pattern else [source]
        else:
            files += list_images(source)
    for file in one_of_each_image(files):
        images |= dict.fromkeys(images_at(file))
    return list(images)


def _at_address(address: Address) -> list[Location]:
    """Return the images at an address; ``*`` stands for names in a plate."""
    if "*" not in address.url:
        return images_at(address)
    base, _ = outermost(address)
    matches = [one for one in zarr_images(base) if fnmatchcase(str(one), address.url)]
    if not matches:
        raise InputError(f"No image in {base} matches {address}; check the pattern.")
    return matches


class Place:
    """The place for results: one file, or a folder.

    Parameters
    ----------
    options
        The options ``out`` and ``format`` of the command.
    sources
        The images.
    prompts
        The names of the prompts.

    Raises
    ------
    InputError
        If the results cannot be written to that place.
    """

    def __init__(
        self, options: Namespace, sources: Sequence[Location], prompts: Sequence[str]
    ) -> None:
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
        names = [result_name(source) for source in sources]
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

    def prepare(self) -> None:
        """Create the folder of the results, if it does not exist."""
        if self.file is None:
            make_folder(self.folder)

    def target(self, source: Location, planes: Planes, number: int, segmenter: object) -> Path:
        """Return the path for the result of an image and of the prompt with that number."""
        from napari_ptsam.batch.result_files import target_for

        if self.file is not None:
            target_for(self.folder, planes, "", segmenter, self.format)  # type: ignore[arg-type]
            return self.file
        return target_for(
            self.folder, planes, result_name(source), segmenter, self.format,  # type: ignore[arg-type]
            self._prompts[number],
        )  # fmt: skip
