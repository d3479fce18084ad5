"""What clicks need of the backbone, in steps that run in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.images.normalize import normalize_plane

if TYPE_CHECKING:
    from napari_ptsam.widgets.annotate.object_paint import ClickedObject
    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel
    from napari_ptsam.widgets.shared.worker import Steps


class ClickSteps:
    """Prepare planes for clicks, and find the objects that are clicked on."""

    def __init__(self, session_model: SessionModel) -> None:
        self._session_model = session_model
        self._last: tuple[object, np.ndarray] = (None, np.empty(0))

    def embed(self, image: AnnotatedImage, number: int) -> Steps:
        """Embed a plane, so that clicks are answered quickly."""
        backbone = self._session_model.backbone_service.backbone()
        from napari_ptsam.annotation.outlines import click_tiling
        from napari_ptsam.images.tiling import cut

        pixels = self._prepared(image, number)
        shape = pixels.shape[0], pixels.shape[1]
        for tile in click_tiling(shape).tiles(shape):
            backbone.encoder([cut(pixels, tile)])
            yield None

    def outline(self, clicked: ClickedObject, prompts: tuple[Any, ...]) -> Steps:
        """Find the outline for the points, their signs and the box of an object."""
        backbone = self._session_model.backbone_service.backbone()
        from napari_ptsam.annotation.candidates import object_areas
        from napari_ptsam.annotation.outlines import choose_tile, click_tiling, find_outline
        from napari_ptsam.backbones.point_prompts import Clicks
        from napari_ptsam.images.tiling import cut

        clicks = Clicks(*prompts)
        pixels = self._prepared(clicked.image, clicked.number)
        shape = pixels.shape[0], pixels.shape[1]
        tile = choose_tile(click_tiling(shape), shape, clicks)
        embedding = backbone.encoder([cut(pixels, tile)])[0]
        former = clicked.outline.logits if clicked.outline is not None else None
        # Areas are known if each object has its own label; this one must not be among them.
        scheme, areas = self._session_model.scheme, []
        if scheme.instances and clicks.single:
            labels = np.asarray(clicked.image.label_planes[clicked.number])
            areas = object_areas(scheme.without_ignored(labels))
        yield find_outline(backbone, embedding, tile, shape, clicks, former, areas)

    def other_outline(self, clicked: ClickedObject, prompts: tuple[Any, ...]) -> Steps:
        """Return the next of the outlines that the same clicks may mean."""
        from napari_ptsam.annotation.outlines import next_outline
        from napari_ptsam.backbones.point_prompts import Clicks

        if clicked.outline is not None:
            yield next_outline(clicked.outline, clicked.image.planes.shape, Clicks(*prompts))

    def missed_part(self, part: ClickedObject) -> Steps:
        """Find what the object with the label of a part lacks around the part's only point."""
        backbone = self._session_model.backbone_service.backbone()
        from napari_ptsam.annotation.missed_parts import find_missed_part
        from napari_ptsam.annotation.outlines import choose_tile, click_tiling
        from napari_ptsam.backbones.point_prompts import Clicks
        from napari_ptsam.images.tiling import cut

        pixels = self._prepared(part.image, part.number)
        shape, at = (pixels.shape[0], pixels.shape[1]), part.points[0]
        tile = choose_tile(click_tiling(shape), shape, Clicks((at,), (True,)))
        embedding = backbone.encoder([cut(pixels, tile)])[0]
        labels = np.asarray(part.image.label_planes[part.number])
        assert part.label is not None, "a part has the label of its object"
        yield find_missed_part(backbone, embedding, tile, labels, at, part.label)

    def _prepared(self, image: AnnotatedImage, number: int) -> np.ndarray:
        """Return three channels of a plane, from 0 to 1, caching the last plane."""
        key, pixels = self._last
        if key != (image.id, number, image.channels):
            key = image.id, number, image.channels
            plane = image.planes[number]
            pixels = normalize_plane(plane, image.channels, image.planes.rgb)
            self._last = key, pixels
        return pixels
