"""Random forests on three kinds of features, otherwise alike.

All have the same number of trees, and see the same random pixels of each training plane:

- ``forest``: scikit-image's multiscale features, which users of ilastik, APOC and Labkit have.
- ``feature_forest``: features of the frozen TinyViT, which convpaint and the pixel classifier
  of micro-sam 2 use: stem, first stage and embedding, interpolated at each pixel.
- ``autocontext``: the same, with the logits of a prompt among the features (autocontext: Tu and
  Bai, PAMI 2010); see `PromptContext` for where the logits come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from finders import Finder
from frozen_features import TileFeatures, frozen_features, nearest_tile
from napari_ptsam.backbones.loading import Backbone
from napari_ptsam.datasets.annotated_planes import AnnotatedPlane, AnnotationSet
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Blend
from napari_ptsam.training.scale import image_settings
from napari_ptsam.training.settings import TrainingSettings
from prompt_context import PromptContext

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

TREES = 100
PIXELS = 4000
"""Number of pixels of each plane that a forest is trained on."""
AT_ONCE = 2**16
"""Number of pixels that are classified together, which bounds the memory."""

Context = Callable[[AnnotatedPlane], np.ndarray]
"""Function that returns more features of a plane: float32, shape (y, x, features)."""


def forest(train: AnnotationSet, seed: int, backbone: Backbone) -> tuple[Finder, int]:
    """Train a random forest on classical features."""
    trees = _grown(train, seed, lambda example, chosen: _multiscale(example)[chosen])
    return lambda e: trees.predict(_multiscale(e)).reshape(e.shape), _nodes(trees)


def _multiscale(example: AnnotatedPlane) -> np.ndarray:
    from skimage.feature import multiscale_basic_features

    features = multiscale_basic_features(
        example.pixels, channel_axis=-1 if example.rgb else None, sigma_max=16
    )
    return features.reshape(-1, features.shape[-1])


def feature_forest(train: AnnotationSet, seed: int, backbone: Backbone) -> tuple[Finder, int]:
    """Train a random forest on the features of the frozen TinyViT.

    Planes are divided into the upright tiles that a prompt would be trained on.
    """
    images = image_settings(train.examples, TrainingSettings())
    return _on_frozen_features(train, seed, backbone, images, _no_context)


def autocontext(train: AnnotationSet, seed: int, backbone: Backbone) -> tuple[Finder, int]:
    """Train a random forest on the features of the frozen TinyViT and the logits of a prompt.

    The logits of the training planes are out of fold; see `PromptContext`.
    """
    images = image_settings(train.examples, TrainingSettings())
    context = PromptContext(train, images, seed, backbone)
    find, nodes = _on_frozen_features(train, seed, backbone, images, context)
    return find, nodes + context.parameters


def _no_context(example: AnnotatedPlane) -> np.ndarray:
    return np.empty((*example.shape, 0), np.float32)


def _on_frozen_features(
    train: AnnotationSet, seed: int, backbone: Backbone, images: ImageSettings, context: Context
) -> tuple[Finder, int]:
    """Train a forest on features of the frozen network and those that the context adds."""

    def features_at(example: AnnotatedPlane, chosen: np.ndarray) -> np.ndarray:
        rows, columns = np.unravel_index(chosen, example.shape)
        around = context(example)[rows, columns]
        nearest = nearest_tile(images.tiling.tiles(example.shape), rows, columns)
        found: np.ndarray | None = None
        for number, features in enumerate(frozen_features(example, images, backbone)):
            own = nearest == number
            values = features.at(rows[own], columns[own])
            if found is None:
                found = np.empty((len(chosen), values.shape[1]), np.float32)
            found[own] = values
        assert found is not None
        return np.concatenate([found, around], 1)

    trees = _grown(train, seed, features_at)

    def find(example: AnnotatedPlane) -> np.ndarray:
        around, blend = context(example), Blend(1, example.shape)
        for features in frozen_features(example, images, backbone):
            blend.add(_classified(trees, features, around)[None], features.tile)
        return blend.result()[0] > 0.5

    return find, _nodes(trees)


def _classified(
    trees: RandomForestClassifier, features: TileFeatures, around: np.ndarray
) -> np.ndarray:
    """Return the probability of foreground in a tile: float32, shape (side, side).

    Pixels beyond the plane's edge have a probability of 0.
    """
    tile = features.tile
    found = np.zeros((tile.side, tile.side), np.float32)
    for rows, columns in _bands(around[tile.window].shape):
        pixels = rows.ravel() + tile.y, columns.ravel() + tile.x
        values = np.concatenate([features.at(*pixels), around[pixels]], 1)
        found[rows, columns] = _probability(trees, values).reshape(rows.shape)
    return found


def _bands(shape: tuple[int, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Divide an area (y, x, ...) into bands of rows; yields the rows and columns of their pixels."""
    height, width = shape[:2]
    step = max(1, AT_ONCE // width)
    for top in range(0, height, step):
        rows, columns = np.mgrid[top : min(top + step, height), :width]
        yield rows, columns


def _probability(trees: RandomForestClassifier, values: np.ndarray) -> np.ndarray:
    """Return the probability of foreground; 0 if none of the drawn pixels was foreground."""
    probabilities = trees.predict_proba(values)
    known = list(trees.classes_)
    return probabilities[:, known.index(True)] if True in known else np.zeros(len(values))


def _grown(
    train: AnnotationSet,
    seed: int,
    features_at: Callable[[AnnotatedPlane, np.ndarray], np.ndarray],
) -> RandomForestClassifier:
    """Train a forest on random pixels of each plane.

    Parameters
    ----------
    train
        Annotated planes.
    seed
        Seed of the pixels and of the trees.
    features_at
        Function that returns the features of some pixels of a plane, shape (n, features). The
        pixels are numbered row by row.
    """
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(seed)
    samples, labels = [], []
    for example in train.examples:
        truth = example.labels.ravel() > 0
        chosen = rng.choice(truth.size, min(PIXELS, truth.size), replace=False)
        samples.append(features_at(example, chosen))
        labels.append(truth[chosen])
    trees = RandomForestClassifier(n_estimators=TREES, random_state=seed, n_jobs=-1)
    return trees.fit(np.concatenate(samples), np.concatenate(labels))


def _nodes(trees: RandomForestClassifier) -> int:
    """Count the nodes of all trees."""
    return sum(tree.tree_.node_count for tree in trees.estimators_)
