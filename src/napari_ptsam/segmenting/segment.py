"""A prompt applied to planes, one after the other, so that memory does not grow with the stack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch

from napari_ptsam.errors import InputError
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.tiling import cut
from napari_ptsam.prompts.predict import labels_of, plane_logits
from napari_ptsam.segmenting.instances import connected_components

if TYPE_CHECKING:
    from napari_ptsam.images.normalize import Limits
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.sam.backbones import Backbone

Output = Literal["labels", "instances", "probabilities"]


class Segmenter:
    """A prompt on its backbone, ready for planes.

    Parameters
    ----------
    prompt
        The specialist.
    backbone
        The one that it was tuned for.
    output
        ``labels``: a class number a pixel; ``instances``: a number of its own
        for each connected object; ``probabilities``: one float a class and pixel.

    Raises
    ------
    InputError
        If the output is unknown.
    PromptFileError
        If the prompt belongs to another backbone.
    """

    def __init__(self, prompt: Prompt, backbone: Backbone, output: Output = "labels") -> None:
        if output not in get_args(Output):
            raise InputError(
                f"Unknown output {output!r}; choose one of {', '.join(get_args(Output))}."
            )
        prompt.check_backbone(backbone.name, backbone.signature)
        self.prompt, self.backbone, self.output = prompt, backbone, output
        self._tokens = torch.from_numpy(prompt.tokens.copy()).to(backbone.device)

    @property
    def dtype(self) -> np.dtype:
        """Of the results."""
        kinds: dict[str, type] = {
            "labels": np.uint8, "instances": np.uint32, "probabilities": np.float32,
        }  # fmt: skip
        return np.dtype(kinds[self.output])

    def result_shape(self, shape: tuple[int, int]) -> tuple[int, ...]:
        """Shape of a plane's result: (y, x), or (classes, y, x) for probabilities."""
        return (len(self.prompt.classes), *shape) if self.output == "probabilities" else shape

    def logits(
        self, plane: np.ndarray, rgb: bool = False, limits: Limits | None = None
    ) -> np.ndarray:
        """Logits of a plane.

        Parameters
        ----------
        plane
            Shape (y, x) or (y, x, channels).
        rgb
            Whether the channels are red, green and blue.
        limits
            Value limits of its stack, where the prompt normalises over the stack.

        Returns
        -------
        numpy.ndarray
            float32, shape (classes, y, x).
        """
        images = self.prompt.images
        pixels = images.prepare(plane, rgb, limits)
        shape = (pixels.shape[0], pixels.shape[1])
        tiles = images.tiling.tiles(shape)
        embeddings = (self.backbone.encoder([cut(pixels, tile)])[0] for tile in tiles)
        return plane_logits(self.backbone.decoder, embeddings, tiles, shape, self._tokens)

    def plane(
        self, plane: np.ndarray, rgb: bool = False, limits: Limits | None = None
    ) -> np.ndarray:
        """Result for one plane, of shape `result_shape`; see `logits` for the parameters."""
        logits = self.logits(plane, rgb, limits)
        if self.output == "probabilities":
            # The logistic function without overflow.
            return 0.5 * (1 + np.tanh(0.5 * logits))
        labels = labels_of(logits)
        return labels if self.output == "labels" else connected_components(labels)

    def planes(self, planes: Planes) -> Iterator[np.ndarray]:
        """Results plane by plane; nothing is read before it is needed, nothing kept after.

        Raises
        ------
        InputError
            If a plane cannot be read or holds NaN or infinity.
        """
        limits = self.prompt.images.limits(planes)
        for number, plane in enumerate(planes):
            try:
                yield self.plane(plane, planes.rgb, limits)
            except InputError as error:
                where = f"{planes.name}, plane {number}" if len(planes) > 1 else planes.name
                raise InputError(f"{where}: {error}") from error
