"""Results of ``segment --into-image``: labels in the OME-Zarr images themselves."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ptsam.batch.places import LABELS
from napari_ptsam.errors import InputError
from napari_ptsam.images.zarrs import image_group
from napari_ptsam.io.writing import safe_file_name

if TYPE_CHECKING:
    from napari_ptsam.images.addresses import Location
    from napari_ptsam.images.planes import Planes


class PlaceInImages:
    """The place for results in the images; it stands in for `napari_ptsam.cli.inputs.Place`.

    Parameters
    ----------
    options
        The options of the command.
    prompts
        The names of the prompts.

    Raises
    ------
    InputError
        If options contradict each other.
    """

    def __init__(self, options: Namespace, prompts: Sequence[str]) -> None:
        for option, problem in (
            (options.format, "--format is for files; the image decides on that of its labels."),
            (options.probabilities, "Probabilities are no labels; write them to a file with -o."),
            (options.slices, "Labels cover the whole image; leave out --slices."),
        ):
            if option:
                raise InputError(problem)
        names = list(prompts)
        if options.label_name is not None:
            several = len(names) > 1
            names = [
                f"{options.label_name}-{name}" if several else options.label_name for name in names
            ]
        # A name such as a.tif would be taken for a file.
        self._names = [safe_file_name(name.replace(".", "_"), "labels") for name in names]

    def prepare(self) -> None:
        """Do nothing: the images exist."""

    def target(self, source: Location, planes: Planes, number: int, segmenter: object) -> Path:
        """Return the path of the labels of an image, for the prompt with that number.

        Raises
        ------
        InputError
            If the image is no OME-Zarr image on this disk.
        """
        from napari_ptsam.batch.formats import format_for

        image = image_group(source)
        if image is None:
            raise InputError(
                f"{source} is no OME-Zarr image on this computer, so that no labels can be added "
                "to it; name a folder for its result with -o."
            )
        target = image / LABELS / self._names[number]
        format_for(target).layout(planes, 0)  # fails before anything is computed
        return target
