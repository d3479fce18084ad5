"""Segment planes with a prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.backbones.loading import with_encoder_tokens
from napari_ptsam.errors import InputError, Remedy
from napari_ptsam.inference.detail import corrections_of
from napari_ptsam.inference.embedded_plane import EmbeddedPlane
from napari_ptsam.inference.objects import NumberedObjects, clean
from napari_ptsam.inference.result import Output, ResultSettings

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.images.normalize import Limits
    from napari_ptsam.images.settings import PreparedPlane
    from napari_ptsam.inference.prediction import Prediction
    from napari_ptsam.prompts.prompt import Prompt


class Segmenter:
    """A prompt on its backbone, ready to segment planes.

    Parameters
    ----------
    prompt
        The prompt.
    backbone
        The backbone that the prompt was tuned for.
    settings
        Settings of the result, or only the name of the output.

    Raises
    ------
    InputError
        If the output is unknown, or instances are to be split by markers that
        the prompt has none of.
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
        wants_markers = settings.output == "instances" and settings.split != "components"
        if wants_markers and settings.split == "markers" and prompt.markers is None:
            raise InputError(
                "The prompt knows no markers to split instances by.", Remedy.SPLIT_COMPONENTS
            )
        self.splits = wants_markers and prompt.markers is not None
        """Whether instances are split by their markers."""
        tokens = prompt.all_tokens if self.splits else prompt.tokens
        self.tokens = torch.from_numpy(tokens.copy()).to(backbone.device)
        """Tokens to decode: those of the classes, followed by those of their markers."""
        self.corrections = corrections_of(prompt.detail, backbone.device)
        """The detail head of each class; empty if the prompt has none."""
        self.flips = prompt.flips if settings.flips else ()
        """Flips that are embedded besides the upright tiles."""

    @property
    def output(self) -> Output:
        """Kind of result."""
        return self.settings.output

    @property
    def dtype(self) -> np.dtype:
        """Data type of the results."""
        return self.settings.dtype

    def result_shape(self, shape: tuple[int, int]) -> tuple[int, ...]:
        """Return the shape of the result for a plane of shape (y, x).

        It is (y, x), or (classes, y, x) for probabilities.
        """
        return (len(self.prompt.classes), *shape) if self.output == "probabilities" else shape

    def predict(
        self, plane: np.ndarray, rgb: bool = False, limits: Limits | None = None
    ) -> Prediction:
        """Predict the logits of a plane.

        Parameters
        ----------
        plane
            Pixels as read, of shape (y, x) or (y, x, channels).
        rgb
            Whether the channels are red, green and blue.
        limits
            Value limits of the stack, if the prompt normalises over the stack.

        Raises
        ------
        InputError
            If the plane does not fit the prompt.
        """
        (prediction,) = predict_plane([self], self.prompt.images.prepare(plane, rgb, limits))
        return prediction

    def result(self, prediction: Prediction) -> np.ndarray:
        """Return the result that the settings ask for, of shape `result_shape`."""
        if self.output == "probabilities":
            return prediction.probabilities()
        if self.output == "labels" and not self.settings.cleans:
            return prediction.labels
        instances = prediction.objects()
        if self.settings.cleans:
            instances = clean(instances, self.settings)
        if self.output == "labels":
            return _classes_of(instances, prediction)
        return NumberedObjects.of(instances, _class_numbers(instances, prediction))

    def plane(
        self, plane: np.ndarray, rgb: bool = False, limits: Limits | None = None
    ) -> np.ndarray:
        """Segment a plane; see `predict` for the parameters and `result` for what is returned."""
        return self.result(self.predict(plane, rgb, limits))


def predict_plane(segmenters: Sequence[Segmenter], prepared: PreparedPlane) -> Iterator[Prediction]:
    """Predict a plane with several segmenters, and embed its tiles only once.

    Parameters
    ----------
    segmenters
        Segmenters whose prompts prepare and embed images alike.
    prepared
        The plane, prepared for them.

    Yields
    ------
    Prediction
        The prediction of each segmenter, one after the other.
    """
    backbone, flips = segmenters[0].backbone, segmenters[0].flips
    detail = any(each.corrections for each in segmenters)
    plane = EmbeddedPlane.from_prepared(prepared, backbone.encoder, flips, detail)
    tokens = torch.cat([each.tokens for each in segmenters])
    corrections = [
        correct for each in segmenters for _, correct in zip_longest(each.tokens, each.corrections)
    ]
    logits = plane.logits(backbone.decoder, tokens, corrections)
    ends = np.cumsum([len(each.tokens) for each in segmenters])
    for each, part in zip(segmenters, np.split(logits, ends[:-1]), strict=True):
        yield plane.prediction(part, each.prompt.refinement, len(each.prompt.classes))


def _classes_of(instances: np.ndarray, prediction: Prediction) -> np.ndarray:
    """Return the class numbers of cleaned objects; the holes of an object have its class."""
    return _class_numbers(instances, prediction)[instances]


def _class_numbers(instances: np.ndarray, prediction: Prediction) -> np.ndarray:
    """Return the class number of each object, by its number."""
    labels, count = prediction.labels, int(instances.max(initial=0))
    if len(prediction.logits) == 1:
        return np.minimum(np.arange(count + 1), 1).astype(np.uint8)
    numbers = np.zeros(count + 1, dtype=np.uint8)
    known = (instances > 0) & (labels > 0)
    numbers[instances[known]] = labels[known]
    return numbers
