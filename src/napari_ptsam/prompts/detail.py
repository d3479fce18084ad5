"""The detail head of a class: a small convolutional network that corrects the mask logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

import numpy as np

from napari_ptsam.errors import InputError

STEM, STAGE, PIXELS, DECODED = 64, 128, 3, 32
"""Numbers of channels of the features that a detail head sees, besides the logits."""
FINE = STEM + PIXELS + DECODED
"""Number of channels of the features with 256 x 256 positions."""
POOLING = 4
"""Factor by which the grid of the pooled convolutions is coarser."""
DILATIONS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"before": (1,), "pooled": (1, 2), "after": (2, 1)}
)
"""Dilation of each 3 x 3 convolution: before pooling, on the coarser grid, and after it."""
MOST_WIDTH = 14
"""Largest number of channels inside a head; the file of one class then has less than 40 KB."""


def parameter_shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each parameter of a head, in the order in which they are stored."""
    shapes: dict[str, tuple[int, ...]] = {
        "fine.weight": (width, FINE + 1),
        "fine.bias": (width,),
        "coarse.weight": (width, STAGE),
    }
    for part, dilations in DILATIONS.items():
        for number in range(len(dilations)):
            shapes[f"{part}.{number}.weight"] = (width, width, 3, 3)
            shapes[f"{part}.{number}.bias"] = (width,)
    shapes["last.weight"] = (1, width)
    shapes["last.bias"] = (1,)
    return shapes


def parameter_count(width: int) -> int:
    """Return the number of parameters of a head: 12,111 for 14 channels."""
    return sum(prod(shape) for shape in parameter_shapes(width).values())


@dataclass(frozen=True, eq=False)
class DetailHead:
    """The trained detail head of a class; see `napari_ptsam.inference.detail`.

    Attributes
    ----------
    parameters
        All parameters one after the other, see `parameter_shapes`: float16, shape
        (parameters,).
    width
        Number of channels inside the head.
    share
        Factor of the correction before it is added to the logits, more than 0
        and at most 1.

    Raises
    ------
    InputError
        If the values do not fit together.
    """

    parameters: np.ndarray
    width: int
    share: float

    def __post_init__(self) -> None:
        if isinstance(self.width, bool) or not 1 <= self.width <= MOST_WIDTH:
            raise InputError(
                f"A detail head has 1 to {MOST_WIDTH} channels, not {self.width}; train the prompt "
                "again."
            )
        count = parameter_count(self.width)
        if self.parameters.shape != (count,) or self.parameters.dtype != np.float16:
            raise InputError(
                f"The detail head has {count:,} parameters in float16, not {self.parameters.dtype} of "
                f"shape {self.parameters.shape}; train the prompt again."
            )
        if not np.isfinite(self.parameters).all():
            raise InputError("The detail head holds NaN or infinity; train the prompt again.")
        if not 0 < self.share <= 1:
            raise InputError(
                f"The share of a detail head is more than 0 and at most 1, not {self.share}; train the "
                "prompt again."
            )

    def named_parameters(self) -> dict[str, np.ndarray]:
        """Return each parameter by its name: float16."""
        shapes = parameter_shapes(self.width)
        ends = np.cumsum([prod(shape) for shape in shapes.values()])
        parts = np.split(self.parameters, ends[:-1])
        return {
            name: part.reshape(shape)
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        }
