"""Guide the user: say in one sentence what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_ptsam.annotation.plane_records import WANTED

FEWEST = 4
"""Smallest number of annotated planes for a first training; one of them validates."""

Place = Literal["images", "annotate", "train"]


@dataclass(frozen=True)
class Situation:
    """The state of a session, as far as the guide needs it.

    Attributes
    ----------
    images
        Number of images in use.
    annotation_layers
        Number of them that have an annotation layer.
    planes
        Number of planes of these images; None if it is unknown.
    painted
        Number of planes with labels.
    counting
        Number of planes that a training would use.
    sparse
        Whether annotation is sparse.
    training
        Whether a training is running.
    trained
        Number of planes that the last prompt was trained on; 0 if there is none.
    saved
        Whether the last prompt is saved, or there is none.
    """

    images: int = 0
    annotation_layers: int = 0
    planes: int | None = None
    painted: int = 0
    counting: int = 0
    sparse: bool = False
    training: bool = False
    trained: int = 0
    saved: bool = False

    @property
    def wanted(self) -> int:
        """Number of planes to annotate: 16, or all of fewer."""
        return WANTED if self.planes is None else min(WANTED, self.planes)

    @property
    def finished(self) -> bool:
        """Whether every plane is annotated."""
        return self.planes is not None and self.counting >= self.planes


def next_step(now: Situation) -> tuple[Place, str]:
    """Return the tab where the next step is done, and a sentence for the user."""
    if not now.images:
        return "images", "Choose an image, or open one: File > Open Sample has some to try."
    if now.training:
        return "train", "The prompt is being trained; watch it on the plane in view."
    if not now.annotation_layers:
        return "annotate", "Add an annotation layer to paint on."
    if now.trained and not now.saved and now.finished and not now.sparse:
        return "train", "Save the prompt."
    if now.trained and not now.saved:
        where = "more" if now.finished else "planes"
        return (
            "train",
            f"Save the prompt, or annotate {where} where it fails and continue training.",
        )
    if now.trained and now.counting > now.trained:
        more = now.counting - now.trained
        planes = "1 more plane is" if more == 1 else f"{more} more planes are"
        return "train", f"{planes} annotated: continue training."
    if now.trained and now.finished:
        return "images", "Saved. All planes are annotated; to improve it, add other images."
    if now.trained:
        return (
            "annotate",
            "Saved. To improve it, take the prediction of another plane, correct it, and continue "
            "training.",
        )
    if now.counting and now.counting >= now.wanted:
        planes = "1 plane is" if now.counting == 1 else f"{now.counting} planes are"
        return "train", f"{planes} annotated: press Train."
    if now.counting >= FEWEST:
        return "train", (
            f"{now.counting} planes are annotated: train now for a first impression, "
            f"or continue to {_about(now)}."
        )
    return "annotate", _how_to_annotate(now)


def _how_to_annotate(now: Situation) -> str:
    if now.sparse:
        return (
            "Paint a few strokes on the background and on the objects, then go to the next plane."
            if not now.counting
            else f"Scribble on more planes: {now.counting} of {_about(now)}."
        )
    if now.painted > now.counting:
        return "Paint every object on this plane, then press “Done, next plane”."
    if not now.counting:
        return "Mark every object on this plane: click on each with “Click objects”, or paint."
    return f"Annotate more planes: {now.counting} of {_about(now)}."


def _about(now: Situation) -> str:
    """Return how many planes to annotate: all of them if there are few."""
    return f"about {WANTED}" if now.wanted == WANTED else str(now.wanted)
