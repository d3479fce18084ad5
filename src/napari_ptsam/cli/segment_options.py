"""Options of ``segment``."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_ptsam.batch.formats import FORMATS, result_endings
from napari_ptsam.cli.setting_options import add_settings
from napari_ptsam.images.addresses import as_location
from napari_ptsam.inference.linking import LinkSettings
from napari_ptsam.inference.result import ResultSettings
from napari_ptsam.io.declaration import settings_of

TO_SEGMENT = "Channels that the prompt sees, counted from 0. Default: those that it was trained on."


def add_channels(add: argparse.ArgumentParser, what: str) -> None:
    """Add the option for the channels of images."""
    add.add_argument("--channels", type=_numbers, metavar="C[,C[,C]]", help=what)


def add_segment_options(add: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add.add_argument("prompt", type=Path, metavar="PROMPT.pt")
    add.add_argument(
        "inputs", type=as_location, nargs="+", metavar="INPUT",
        help="Image files, folders, patterns such as 'data/**/*.tif' or 'plate.zarr/*/*/0', or "
        "addresses of OME-Zarr (https://, s3://).",
    )  # fmt: skip
    place = add.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "-o", "--out", type=Path,
        help=f"For a single image or stack, a {result_endings()}; otherwise a folder.",
    )  # fmt: skip
    place.add_argument(
        "--into-image", action="store_true",
        help="Write the results into the images, which must be OME-Zarr: as labels/NAME, with the "
        "name of the prompt.",
    )  # fmt: skip
    add.add_argument(
        "--label-name", metavar="NAME",
        help="With --into-image, the name of the labels in place of the prompt's.",
    )  # fmt: skip
    add.add_argument(
        "--also", type=Path, action="append", default=[], metavar="PROMPT.pt",
        help="A further prompt for the same images. Can be used several times.",
    )  # fmt: skip
    _add_result(add)
    _add_linking(add)
    add.add_argument(
        "--format",
        choices=FORMATS,
        help="Format of the results. Default: tiff, or ome-zarr if they are too large for it.",
    )
    add.add_argument("--axes", help="Axes of the images, a letter each, for instance ZCYX.")
    add_channels(add, TO_SEGMENT)
    add.add_argument(
        "--slices",
        type=_slices,
        metavar="A:B",
        help="Segment these positions of the last axis that counts several planes only, as in Python.",
    )
    add.add_argument(
        "--rescale", action="store_true",
        help="Adapt the size of the tiles to images whose pixel size differs from the prompt's.",
    )  # fmt: skip
    add.add_argument(
        "--measure", action="store_true",
        help="Write size, centroid, intensity and bounding box of the objects (or of the classes) "
        "to a CSV file beside each result.",
    )  # fmt: skip
    add.add_argument("--resume", action="store_true", help="Continue an interrupted run.")
    add.add_argument(
        "--scheduler", metavar="ADDRESS", help="Address of a dask cluster whose workers segment."
    )


def _add_result(add: argparse.ArgumentParser) -> None:
    kind = add.add_mutually_exclusive_group()
    kind.add_argument(
        "--instances",
        action="store_true",
        help="Number the objects, instead of giving each pixel the number of its class.",
    )
    kind.add_argument(
        "--probabilities",
        action="store_true",
        help="Write the probability of each class, instead of class numbers.",
    )
    add_settings(add, ResultSettings)


def _add_linking(add: argparse.ArgumentParser) -> None:
    threshold = settings_of(LinkSettings)["threshold"]
    add.add_argument(
        f"--{threshold.option}",
        dest=threshold.name,
        nargs="?",
        type=float,
        const=threshold.default,
        metavar=threshold.shown.metavar,
        help="Let objects keep their number from plane to plane if they overlap by at least this "
        f"IoU. Default: {threshold.default}.",
    )
    add_settings(add, LinkSettings, "gap")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 0,2") from None


def _slices(text: str) -> tuple[int | None, int | None]:
    try:
        start, stop = (int(part) if part else None for part in text.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form A:B") from None
    return start, stop
