"""Say in a few words how far a training is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_ptsam.training.settings import Progress


@dataclass(frozen=True)
class Stage:
    """A stage of a training, for a progress bar.

    Attributes
    ----------
    text
        Name of the stage and how far it is, with ``%v``, ``%m`` and ``%p`` as in
        `QProgressBar.setFormat`.
    step, steps
        Number of steps done, and of all steps, in this stage.
    """

    text: str
    step: int
    steps: int


def stage_of(progress: Progress) -> Stage:
    """Return the stage that a training is in.

    The steps that the plot shows are counted. Those that refine the labels are of several kinds,
    and some of them may be left out, so that their part is given.
    """
    learning = progress.steps - progress.refining_steps
    last = 3 if progress.refining_steps else 2
    if progress.phase == "embedding":
        text = f"Preparing images (1/{last}): %v of %m"
        return Stage(text, progress.step, progress.steps)
    if progress.phase == "done":
        return Stage("Done", 1, 1)
    if progress.step <= learning or not progress.refining_steps:
        return Stage(f"Learning (2/{last}): step %v of %m", progress.step, learning)
    done = progress.step - learning
    return Stage(f"Refining (3/{last}): %p %", done, progress.refining_steps)
