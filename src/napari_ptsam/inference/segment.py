"""Prompts applied to planes, one after the other, so that memory does not grow with the stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.backbones.loading import with_encoder_tokens
from napari_ptsam.errors import InputError, Remedy
from napari_ptsam.images.guided_filter import guide_of
from napari_ptsam.images.planes import Planes
from napari_ptsam.inference.instances import clean, connected_components, split_by_cores
from napari_ptsam.inference.predict import embed_views, labels_of, plane_logits
from napari_ptsam.inference.result import Output, ResultSettings

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.images.normalize import Limits
    from napari_ptsam.images.settings import PreparedPlane
    from napari_ptsam.prompts.prompt import Prompt


class Segmenter:
    """A prompt on its backbone, ready for planes.

    Parameters
    ----------
    prompt
        The specialist.
    backbone
        The one that it was tuned for.
    settings
        What each plane becomes; an output's name alone will do.

    Raises
    ------
    InputError
        If the output is unknown, or the prompt does not know the cores that are
        to split instances.
    PromptFileError
        If the prompt belongs to another backbone.
    """

    def __init__(
        self, prompt: Prompt, backbone: Backbone, settings: ResultSettings | Output = "labels"
    ) -> None:
        if not isinstance(settings, ResultSettings):
            settings = ResultSettings(settings)
        prompt.check_backbone(backbone.name, backbone.signature)
        self.prompt, self.settings = prompt, settings
        self.backbone = with_encoder_tokens(backbone, prompt.encoder_tokens)
        cores = settings.output == "instances" and settings.split != "components"
        if cores and settings.split == "cores" and prompt.cores is None:
            raise InputError(
                "The prompt has no cores to split instances by.", Remedy.SPLIT_COMPONENTS
            )
        self.splits = cores and prompt.cores is not None
        """Whether instances are split by their cores."""
        tokens = prompt.all_tokens if self.splits else prompt.tokens
        self.tokens = torch.from_numpy(tokens.copy()).to(backbone.device)
        """All that are decoded: of the classes, then of their cores."""
        self.flips = prompt.flips if settings.flips else ()
        """That tiles are looked at, too."""

    @property
    def output(self) -> Output:
        """What each plane becomes."""
        return self.settings.output

    @property
    def dtype(self) -> np.dtype:
        """Of the results."""
        return self.settings.dtype

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
            float32, shape (classes, y, x); where instances are split by cores,
            those of the cores follow: (2 * classes, y, x).
        """
        prepared = self.prompt.images.prepared(plane, rgb, limits)
        guide = guide_of(prepared.pixels)
        return self.refined(shared_logits([self], prepared), guide, prepared.blank)

    def refined(
        self, logits: np.ndarray, guide: np.ndarray, blank: np.ndarray | None = None
    ) -> np.ndarray:
        """Logits of which those of the classes follow the image, where the prompt wants it so.

        Parameters
        ----------
        logits
            As decoded, those of cores included: float32, shape (n, y, x).
        guide
            Of the plane, see `napari_ptsam.images.guided_filter.guide_of`.
        blank
            bool, shape (y, x): pixels that show nothing.
        """
        refinement, count = self.prompt.refinement, len(self.prompt.classes)
        if refinement is None:
            return logits
        return np.concatenate([refinement.apply(logits[:count], guide, blank), logits[count:]])

    def result(self, logits: np.ndarray) -> np.ndarray:
        """What `logits` become: shape `result_shape`."""
        classes = logits[: len(self.prompt.classes)]
        if self.output == "probabilities":
            # The logistic function without overflow.
            return 0.5 * (1 + np.tanh(0.5 * classes))
        labels = labels_of(classes)
        if self.output == "labels" and not self.settings.cleans:
            return labels
        if self.splits:
            instances = split_by_cores(labels, classes, logits[len(classes) :])
        else:
            instances = connected_components(labels)
        if self.settings.cleans:
            instances = clean(instances, self.settings)
        return instances if self.output == "instances" else _classes_of(instances, labels)

    def plane(
        self, plane: np.ndarray, rgb: bool = False, limits: Limits | None = None
    ) -> np.ndarray:
        """Result for one plane, of shape `result_shape`; see `logits` for the parameters."""
        return self.result(self.logits(plane, rgb, limits))

    def planes(self, planes: Planes) -> Iterator[np.ndarray]:
        """Results plane by plane; the next plane is read meanwhile, nothing is kept after.

        Raises
        ------
        InputError
            If a plane cannot be read or holds NaN or infinity.
        """
        from napari_ptsam.inference.shared_embedding import SharedSegmenter

        shared = SharedSegmenter([self])
        for number, results in shared.planes(planes, range(len(planes)), shared.limits(planes)):
            if isinstance(results, InputError):
                raise InputError(f"{planes.name_of(number)}: {results}") from results
            yield results[0]


def shared_logits(segmenters: Sequence[Segmenter], prepared: PreparedPlane) -> np.ndarray:
    """Logits of all tokens of segmenters that prepare images alike, one after the other.

    Parameters
    ----------
    prepared
        The plane as they see it.

    Returns
    -------
    numpy.ndarray
        float32, shape (all tokens, y, x).
    """
    backbone = segmenters[0].backbone
    shape = (prepared.pixels.shape[0], prepared.pixels.shape[1])
    tiles = segmenters[0].prompt.images.tiling.tiles(shape)
    flips = segmenters[0].flips
    embeddings = (embed_views(backbone.encoder, prepared.cut(tile), flips) for tile in tiles)
    tokens = torch.cat([segmenter.tokens for segmenter in segmenters])
    return plane_logits(backbone.decoder, embeddings, tiles, shape, tokens, flips, prepared.blank)


def _classes_of(instances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Class numbers of objects that were cleaned; an object's holes have its class."""
    numbers = np.zeros(int(instances.max()) + 1, dtype=np.uint8)
    known = (instances > 0) & (labels > 0)
    numbers[instances[known]] = labels[known]
    return numbers[instances]
