"""The settings of a result, each declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from napari_ptsam.io.declaration import Shown, declared
from napari_ptsam.io.former_names import accept_former_names

Output = Literal["labels", "instances", "probabilities"]
Split = Literal["auto", "markers", "components"]

DTYPES: dict[str, type] = {"labels": np.uint8, "instances": np.uint32, "probabilities": np.float32}


@accept_former_names(values={"split": {"cores": "markers"}})
@declared
@dataclass(frozen=True)
class ResultSettings:
    """The kind of result that a segmentation gives for each plane."""

    output: Annotated[
        Output,
        Field(
            title="Result",
            description="`labels` gives each pixel the number of its class; `instances` gives each "
            "object a number of its own; `probabilities` gives an image from 0 to 1 for each class.",
        ),
        Shown(
            option="",
            choices={
                "labels": "Areas", "instances": "Single objects",
                "probabilities": "Probabilities",
            },
        ),
    ] = "labels"  # fmt: skip
    split: Annotated[
        Split,
        Field(
            title="Touching objects",
            description="How objects that touch are separated: by the markers that the prompt "
            "finds, for prompts trained on masks that number objects, or not at all (connected "
            "components). `auto` uses markers if the prompt has them.",
        ),
        Shown(
            choices={
                "auto": "Automatic", "markers": "By their markers", "components": "Connected pixels",
            }
        ),
    ] = "auto"  # fmt: skip
    min_size: Annotated[
        int,
        Field(
            ge=0,
            title="Smallest object",
            description="Smallest size of an object in pixels; smaller ones are removed.",
        ),
        Shown(metavar="N", most=1_000_000, suffix=" px"),
    ] = 0
    fill_holes: Annotated[
        bool,
        Field(title="Fill holes", description="Fill background that an object encloses."),
    ] = False
    remove_border: Annotated[
        bool,
        Field(
            title="Exclude objects at the border",
            description="Remove objects that touch the edge of the plane.",
        ),
    ] = False
    flips: Annotated[
        bool,
        Field(
            title="Flips",
            description="Flipped copies of each tile are averaged over if the prompt was found to "
            "be better that way. This takes two or four times as long.",
        ),
        Shown(option="no-flips"),
    ] = True

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the results."""
        return np.dtype(DTYPES[self.output])

    @property
    def cleans(self) -> bool:
        """Whether objects are removed or filled after they are found."""
        return bool(self.min_size or self.fill_holes or self.remove_border)
