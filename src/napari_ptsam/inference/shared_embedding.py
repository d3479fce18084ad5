"""Several prompts on the same planes: read once, embedded once where they see alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.guided_filter import guide_of
from napari_ptsam.inference.prefetch import made_ahead
from napari_ptsam.inference.segment import Segmenter, shared_logits

if TYPE_CHECKING:
    from napari_ptsam.images.normalize import Limits
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.images.settings import PreparedPlane

Prepared = list["PreparedPlane"]
"""A plane as each group of prompts sees it."""


class SharedSegmenter:
    """Several prompts on one backbone: what they see alike is embedded once.

    Parameters
    ----------
    segmenters
        One a prompt; those whose prompts see images alike (tiles, values,
        channels, encoder tokens, flips) share the embeddings, so that each but the
        first costs its decoder only.
    """

    def __init__(self, segmenters: Sequence[Segmenter]) -> None:
        self.segmenters = list(segmenters)
        groups: dict[object, list[int]] = {}
        for number, segmenter in enumerate(self.segmenters):
            prompt = segmenter.prompt
            own = tuple(tokens.tobytes() for tokens in prompt.encoder_tokens)
            seen = prompt.images, own, segmenter.flips
            groups.setdefault(seen, []).append(number)
        self._groups = list(groups.values())

    def limits(self, planes: Planes) -> list[Limits | None]:
        """For each prompt the value limits of a stack, where it normalises over the stack."""
        found: list[Limits | None] = [None] * len(self.segmenters)
        for group in self._groups:
            own = self.segmenters[group[0]].prompt.images.limits(planes)
            for number in group:
                found[number] = own
        return found

    def planes(
        self, planes: Planes, numbers: Iterable[int], limits: Sequence[Limits | None]
    ) -> Iterator[tuple[int, list[np.ndarray] | InputError]]:
        """Results of planes; while one is segmented, the next is read and prepared in a thread.

        Parameters
        ----------
        planes
            The image.
        numbers
            Of the planes that are wanted.
        limits
            See `limits`.

        Yields
        ------
        int
            Number of the plane.
        list of numpy.ndarray, or InputError
            Each prompt's result, or why the plane cannot be segmented.
        """
        read = partial(self._read, planes, limits)
        for number, prepared in made_ahead(read, numbers):
            if isinstance(prepared, InputError):
                yield number, prepared
            else:
                yield number, self._results(prepared)

    def _read(
        self, planes: Planes, limits: Sequence[Limits | None], number: int
    ) -> tuple[int, Prepared | InputError]:
        try:
            return number, self._prepared(planes[number], planes.rgb, limits)
        except InputError as error:
            return number, error

    def _prepared(self, plane: np.ndarray, rgb: bool, limits: Sequence[Limits | None]) -> Prepared:
        firsts = [(self.segmenters[group[0]], limits[group[0]]) for group in self._groups]
        return [one.prompt.images.prepared(plane, rgb, own) for one, own in firsts]

    def _results(self, prepared: Prepared) -> list[np.ndarray]:
        results: dict[int, np.ndarray] = {}
        for group, plane in zip(self._groups, prepared, strict=True):
            own = [self.segmenters[number] for number in group]
            ends = np.cumsum([len(segmenter.tokens) for segmenter in own])
            parts = np.split(shared_logits(own, plane), ends[:-1])
            guide = guide_of(plane.pixels)
            for number, segmenter, part in zip(group, own, parts, strict=True):
                results[number] = segmenter.result(segmenter.refined(part, guide, plane.blank))
        return [results[number] for number in range(len(self.segmenters))]
