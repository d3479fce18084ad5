"""The one path from a plane to its prediction, which every caller takes."""

from dataclasses import replace

import numpy as np
import pytest

from napari_ptsam.datasets.annotated_planes import MaskReading, annotate
from napari_ptsam.evaluation.evaluate import evaluate
from napari_ptsam.images.guided_filter import Refinement
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.inference.embedded_plane import EmbeddedPlane, embed_in_steps
from napari_ptsam.inference.preview import PlanePreview
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.training.tiles import PreparedPlanes
from napari_ptsam.training.validation import embed_planes, overlaps, plane_of_tile


@pytest.fixture(scope="module")
def whole(prompt):
    """A prompt with tiles, flips, a filter and markers."""
    return replace(
        prompt,
        images=replace(prompt.images, tiling=Tiling(96)),
        flips=("x",),
        refinement=Refinement(4, 0.01, 0.5),
        markers=prompt.tokens * np.float32(0.9),
    )


def padded(plane: np.ndarray) -> np.ndarray:
    """A plane of which most tiles show nothing."""
    return np.pad(plane[:, :60], ((0, 128), (20, 100)))


def test_a_plane_is_predicted_alike_however_it_is_embedded(whole, nuclei, backbone) -> None:
    plane = padded(nuclei[0][0])
    segmenter = Segmenter(whole, backbone, "instances")
    expected = segmenter.predict(plane)
    prepared = whole.images.prepare(plane)
    given = (segmenter.tokens, whole.refinement, 1)
    at_once = EmbeddedPlane.from_prepared(prepared, backbone.encoder, whole.flips)
    steps = list(embed_in_steps(prepared, backbone.encoder, whole.flips, lambda: prepared.guide))
    assert len(steps) == len(prepared.tiles) > 4 and not any(steps[:-1])
    assert any(embedding is None for embedding in steps[-1].embeddings)
    for embedded in (at_once, steps[-1], steps[-1]):
        found = embedded.predict(backbone.decoder, *given)
        assert np.array_equal(found.logits, expected.logits)
        assert np.array_equal(found.markers, expected.markers)
    with pytest.raises(ValueError, match="shorter"):
        at_once.predict(backbone.decoder, *given)  # its embeddings are gone


def test_markers_are_not_filtered(whole, nuclei, backbone) -> None:
    plane = nuclei[0][1][:96, :96]
    found = Segmenter(whole, backbone, "instances").predict(plane)
    plain = Segmenter(replace(whole, refinement=None), backbone, "instances").predict(plane)
    assert np.array_equal(found.markers, plain.markers)
    assert not np.array_equal(found.logits, plain.logits)
    without = Segmenter(whole, backbone).predict(plane)
    assert without.markers is None and np.array_equal(without.logits, found.logits)
    assert np.array_equal(without.objects(), without.components())


def test_a_tile_as_a_plane_is_predicted_as_in_its_plane(prompt, nuclei, backbone) -> None:
    """Embeddings of training tiles have no axis of views; the guide is cut out."""
    found = annotate([Planes(nuclei[0][0])], [Planes(nuclei[1][0])], MaskReading())
    (example,) = found.examples
    prepared_planes = PreparedPlanes(prompt.images, [None])
    (plane,) = embed_planes([example], prepared_planes, backbone)
    (embedding,), (tile,) = plane.embedded.embeddings, plane.embedded.tiles
    alone = plane_of_tile(example, tile, embedding[0], prepared_planes)
    tokens, refinement = Segmenter(prompt, backbone).tokens, Refinement(2, 0.01)
    predictions = [each.predict(tokens, backbone, refinement) for each in (plane, alone)]
    assert np.array_equal(predictions[0].logits, predictions[1].logits)
    refined = Segmenter(replace(prompt, refinement=refinement), backbone).predict(example.pixels)
    assert np.array_equal(predictions[0].logits, refined.logits)


def test_a_change_of_the_path_reaches_every_caller(prompt, nuclei, backbone, monkeypatch) -> None:
    """Segmenting, preview, validation and evaluation decode and filter planes in one place."""
    plane = nuclei[0][0]
    found = annotate([Planes(plane)], [Planes(nuclei[1][0])], MaskReading())
    segmenter = Segmenter(replace(prompt, refinement=Refinement(2, 0.01)), backbone)
    preview = PlanePreview(backbone, prompt.images, plane, refinement=segmenter.prompt.refinement)
    list(preview.embed())
    prepared_planes = PreparedPlanes(prompt.images, [None])
    (validated,) = embed_planes(found.examples, prepared_planes, backbone)
    for value in (-1.0, 1.0):
        flat = lambda embedded, *_, value=value: np.full(  # noqa: E731
            (1, *embedded.shape), value, np.float32
        )
        monkeypatch.setattr(EmbeddedPlane, "logits", flat)
        everywhere = float(value > 0)
        assert segmenter.plane(plane).mean() == everywhere
        assert preview.labels(segmenter.tokens).mean() == everywhere
        (overlap,) = overlaps(validated, segmenter.tokens, backbone, segmenter.prompt.refinement)
        assert overlap.predicted == everywhere * plane.size
        (scores,) = evaluate(found, segmenter)
        assert scores.iou == (everywhere * (found.examples[0].labels > 0).mean(),)
