"""What the progress bar of a training says."""

from __future__ import annotations

import pytest

from napari_ptsam.training.settings import Progress
from napari_ptsam.widgets.annotate.training_stages import Stage, stage_of


@pytest.mark.parametrize(
    ("progress", "stage"),
    [
        (("embedding", 3, 9, 600), Stage("Preparing images (1/3): %v of %m", 3, 9)),
        (("training", 28, 793, 643), Stage("Learning (2/3): step %v of %m", 28, 150)),
        (("training", 150, 793, 643), Stage("Learning (2/3): step %v of %m", 150, 150)),
        (("training", 151, 793, 643), Stage("Refining (3/3): %p %", 1, 643)),
        (("embedding", 3, 9, 0), Stage("Preparing images (1/2): %v of %m", 3, 9)),
        (("training", 150, 150, 0), Stage("Learning (2/2): step %v of %m", 150, 150)),
        (("done", 150, 150, 0), Stage("Done", 1, 1)),
    ],
)
def test_steps_that_the_plot_shows_are_counted(progress, stage) -> None:
    phase, step, steps, refining = progress
    assert stage_of(Progress(phase, step, steps, refining_steps=refining)) == stage
