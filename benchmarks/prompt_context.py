"""A prompt's logits as features of another classifier (autocontext)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from napari_ptsam.backbones.embedding_cache import EmbeddingCache, with_cache
from napari_ptsam.backbones.loading import Backbone
from napari_ptsam.datasets.annotated_planes import AnnotatedPlane, AnnotationSet
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.trainer import Training

FOLDS = 4
CACHE_BYTES = 2**30
"""Size of the cache that the trainings share: most of their tiles are the same."""
LARGEST_LOGIT = 10.0
"""Logits beyond it are certain, and would only dominate their neighbours when smoothed."""


class PromptContext:
    """The logits of a prompt around each pixel, for planes that it was trained on and for others.

    A prompt is surer of the planes that it was trained on than of new ones, so that a
    classifier that sees such logits relies on them too much. The logits of the training planes
    are therefore out of fold: the planes are divided into four folds (or one for each plane with
    foreground, if there are fewer), and the logits of a fold come from a prompt that was trained
    on the other folds alone, validation included. Other planes get the logits of a prompt that
    was trained on all planes. All prompts are default ones, of 2,048 numbers, with the tile size
    that is chosen for all planes, and their logits are filtered as the prompt says.

    Parameters
    ----------
    train
        Annotated planes. At least two of them must have foreground.
    images
        Settings for all planes, whose tile size the prompts have.
    seed
        Seed of the folds and of the trainings.
    backbone
        Frozen SAM.

    Raises
    ------
    ValueError
        If fewer than two planes have foreground.
    """

    def __init__(
        self, train: AnnotationSet, images: ImageSettings, seed: int, backbone: Backbone
    ) -> None:
        tiling, cached = images.tiling, with_cache(backbone, EmbeddingCache(CACHE_BYTES))
        self._settings = TrainingSettings(
            seed=seed,
            tile="whole" if tiling.whole else tiling.side,
            markers="no",
            encoder_tokens=0,
            detail="off",
        )
        self._out_of_fold: Mapping[AnnotatedPlane, np.ndarray] = {
            example: logits
            for fold in folds(train.examples, seed)
            for example, logits in self._predicted(train, fold, cached)
        }
        # The cache is not kept: other planes are seen once.
        self._segmenter = Segmenter(self._trained(train, cached).prompt, backbone)

    @property
    def parameters(self) -> int:
        """Number of trained parameters of the prompt."""
        return self._segmenter.prompt.trained_parameters

    def __call__(self, example: AnnotatedPlane) -> np.ndarray:
        """Return the multiscale features of the logits of a plane.

        They are those that ilastik's autocontext computes of the probabilities of its first
        classifier: the logits smoothed at several scales, their edges and their texture.

        Returns
        -------
        numpy.ndarray
            float32, shape (y, x, features). The first one is the logits themselves.
        """
        from skimage.feature import multiscale_basic_features

        logits = self._out_of_fold.get(example)
        if logits is None:
            logits = _logits(self._segmenter, example)
        around = multiscale_basic_features(logits, sigma_max=16)
        return np.concatenate([logits[..., None], around], -1)

    def _predicted(
        self, train: AnnotationSet, fold: Sequence[int], backbone: Backbone
    ) -> list[tuple[AnnotatedPlane, np.ndarray]]:
        """Return the planes of a fold with the logits of a prompt that has not seen them."""
        rest = tuple(e for number, e in enumerate(train.examples) if number not in fold)
        segmenter = self._trained(replace(train, examples=rest), backbone)
        held_out = [train.examples[number] for number in fold]
        return [(example, _logits(segmenter, example)) for example in held_out]

    def _trained(self, train: AnnotationSet, backbone: Backbone) -> Segmenter:
        training = Training(train, backbone, self._settings)
        for _ in training:
            pass
        prompt = training.prompt
        training.close()
        return Segmenter(prompt, backbone)


def _logits(segmenter: Segmenter, example: AnnotatedPlane) -> np.ndarray:
    """Predict the logits of a plane: float32, shape (y, x)."""
    logits = segmenter.predict(example.pixels, example.rgb).logits[0]
    return np.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT)


def folds(examples: Sequence[AnnotatedPlane], seed: int) -> list[list[int]]:
    """Deal the planes at random to folds, so that foreground remains without any one of them.

    Returns
    -------
    list of list of int
        The indices of the planes of each fold.

    Raises
    ------
    ValueError
        If fewer than two planes have foreground.
    """
    shown = [bool(example.labels.any()) for example in examples]
    if sum(shown) < 2:
        raise ValueError(
            "Out-of-fold logits need at least two images with foreground; train autocontext on more."
        )
    order = np.random.default_rng(seed).permutation(len(examples)).tolist()
    dealt = sorted(order, key=lambda number: not shown[number])
    count = min(FOLDS, sum(shown))
    return [dealt[start::count] for start in range(count)]
