"""What a segmentation is to give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from napari_ptsam.errors import InputError

Output = Literal["labels", "instances", "probabilities"]
Split = Literal["auto", "cores", "components"]

DTYPES: dict[str, type] = {"labels": np.uint8, "instances": np.uint32, "probabilities": np.float32}


@dataclass(frozen=True)
class ResultSettings:
    """What each plane becomes.

    Attributes
    ----------
    output
        ``labels``: a class number a pixel; ``instances``: a number for each
        object; ``probabilities``: one float a class and pixel.
    split
        How instances are told apart: as connected ``components``, or from the
        ``cores`` that the prompt finds; ``auto``: from the cores where the
        prompt knows them.
    min_size
        Objects of fewer pixels are left out; 0 leaves none out.
    fill_holes
        Whether background inside of an object becomes part of it.
    remove_border
        Whether objects that touch the plane's edge are left out.
    flips
        Whether tiles are looked at flipped, too, where the prompt is better
        that way; without, segmenting is two or four times as fast.

    Raises
    ------
    InputError
        If a value makes no sense.
    """

    output: Output = "labels"
    split: Split = "auto"
    min_size: int = 0
    fill_holes: bool = False
    remove_border: bool = False
    flips: bool = True

    def __post_init__(self) -> None:
        for value, choices, what in (
            (self.output, get_args(Output), "output"), (self.split, get_args(Split), "split"),
        ):  # fmt: skip
            if value not in choices:
                raise InputError(f"Unknown {what} {value!r}; choose one of {', '.join(choices)}.")
        if type(self.min_size) is not int or self.min_size < 0:
            raise InputError(
                f"The minimum size is a whole number of pixels from 0 up, not {self.min_size!r}."
            )

    @property
    def dtype(self) -> np.dtype:
        """Of the results."""
        return np.dtype(DTYPES[self.output])

    @property
    def cleans(self) -> bool:
        """Whether objects are changed after they were found."""
        return bool(self.min_size or self.fill_holes or self.remove_border)
