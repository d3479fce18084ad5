"""Segment the planes of an image with one or several prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.errors import InputError, framed
from napari_ptsam.inference.prefetch import prefetch
from napari_ptsam.inference.segment import Segmenter, predict_plane

if TYPE_CHECKING:
    from napari_ptsam.images.normalize import Limits
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.images.settings import PreparedPlane


class SharedSegmenter:
    """Several prompts on one backbone that share embeddings.

    Prompts that see images alike (tiles, values, channels, encoder tokens,
    flips) form a group whose planes are embedded once: every prompt of a group
    but the first one costs only its decoding.

    Parameters
    ----------
    segmenters
        A segmenter for each prompt.
    """

    def __init__(self, segmenters: Sequence[Segmenter]) -> None:
        self.segmenters = list(segmenters)
        groups: dict[object, list[int]] = {}
        for number, segmenter in enumerate(self.segmenters):
            prompt = segmenter.prompt
            encoder_tokens = tuple(tokens.tobytes() for tokens in prompt.encoder_tokens)
            key = prompt.images, encoder_tokens, segmenter.flips
            groups.setdefault(key, []).append(number)
        self._groups = list(groups.values())

    def limits(self, planes: Planes) -> list[Limits | None]:
        """Return the value limits of a stack for each prompt; see `ImageSettings.limits`."""
        limits: list[Limits | None] = [None] * len(self.segmenters)
        for group in self._groups:
            of_group = self.segmenters[group[0]].prompt.images.limits(planes)
            for number in group:
                limits[number] = of_group
        return limits

    def planes(
        self, planes: Planes, numbers: Iterable[int], limits: Sequence[Limits | None]
    ) -> Iterator[tuple[int, list[np.ndarray] | InputError]]:
        """Segment planes; while one is segmented, a thread reads and prepares the next one.

        Parameters
        ----------
        planes
            The image.
        numbers
            Numbers of the planes to segment.
        limits
            Value limits as `limits` returns them.

        Yields
        ------
        int
            Number of the plane.
        list of numpy.ndarray, or InputError
            The result of each prompt, or the reason why the plane cannot be
            segmented.
        """
        read = partial(self._read, planes, limits)
        for number, prepared in prefetch(read, numbers):
            if isinstance(prepared, InputError):
                yield number, prepared
            else:
                yield number, self._results(prepared)

    def _read(
        self, planes: Planes, limits: Sequence[Limits | None], number: int
    ) -> tuple[int, list[PreparedPlane] | InputError]:
        try:
            return number, self._prepared(planes[number], planes.rgb, limits)
        except InputError as error:
            return number, error

    def _prepared(
        self, plane: np.ndarray, rgb: bool, limits: Sequence[Limits | None]
    ) -> list[PreparedPlane]:
        """Prepare a plane for each group."""
        return [
            self.segmenters[first].prompt.images.prepare(plane, rgb, limits[first])
            for first, *_ in self._groups
        ]

    def _results(self, prepared: list[PreparedPlane]) -> list[np.ndarray]:
        """Segment a plane that is prepared for each group; return the result of each prompt."""
        results: dict[int, np.ndarray] = {}
        for group, plane in zip(self._groups, prepared, strict=True):
            segmenters = [self.segmenters[number] for number in group]
            predictions = predict_plane(segmenters, plane)
            for number, segmenter in zip(group, segmenters, strict=True):
                # Taken one by one, so that the filtered logits of only one prompt are in memory.
                results[number] = segmenter.result(next(predictions))
        return [results[number] for number in range(len(self.segmenters))]


def segment_planes(segmenter: Segmenter, planes: Planes) -> Iterator[np.ndarray]:
    """Segment all planes of an image with one prompt.

    Yields
    ------
    numpy.ndarray
        The result for the next plane, of shape `Segmenter.result_shape`. Only
        one plane and the next one, which is read meanwhile, are in memory.

    Raises
    ------
    InputError
        If a plane cannot be read; the message names it.
    """
    shared = SharedSegmenter([segmenter])
    for number, results in shared.planes(planes, range(len(planes)), shared.limits(planes)):
        if isinstance(results, InputError):
            raise InputError(framed(results, before=f"{planes.name_of(number)}: ")) from results
        yield results[0]
