"""One sentence at a time leads from nothing to a saved prompt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from napari_ptsam.annotation.guide import FEWEST, Situation, next_step
from napari_ptsam.annotation.plane_records import WANTED

START = Situation(saved=True)
CHOSEN = replace(START, images=1)
LAYER = replace(CHOSEN, annotation_layers=1)
TRAINED = replace(LAYER, painted=5, counting=5, trained=5)


@pytest.mark.parametrize(
    ("now", "place", "words"),
    [
        (START, "images", "Choose an image"),
        (replace(START, training=True), "images", "Choose an image"),
        (CHOSEN, "annotate", "Add an annotation layer"),
        (LAYER, "annotate", "Mark every object"),
        (replace(LAYER, painted=1), "annotate", "Done, next plane"),
        (replace(LAYER, painted=2, counting=2), "annotate", f"2 of about {WANTED}"),
        (replace(LAYER, painted=2, counting=1), "annotate", "Done, next plane"),
        (replace(LAYER, painted=FEWEST, counting=FEWEST), "train", "first impression"),
        (replace(LAYER, painted=WANTED, counting=WANTED), "train", "press Train"),
        (replace(LAYER, painted=5, counting=5, training=True), "train", "being trained"),
        (replace(TRAINED, saved=False), "train", "Save the prompt"),
        (TRAINED, "annotate", "Saved"),
        (replace(TRAINED, counting=7), "train", "2 more planes"),
        (replace(TRAINED, counting=3), "annotate", "Saved"),
        (
            replace(LAYER, planes=1, painted=1, counting=1),
            "train",
            "1 plane is annotated: press Train",
        ),
        (
            replace(LAYER, planes=6, painted=6, counting=6),
            "train",
            "6 planes are annotated: press Train",
        ),
        (replace(LAYER, planes=6, painted=2, counting=2), "annotate", "2 of 6."),
        (replace(LAYER, planes=6, painted=4, counting=4), "train", "or continue to 6."),
        (replace(LAYER, planes=99, painted=2, counting=2), "annotate", f"2 of about {WANTED}"),
        (replace(LAYER, planes=0), "annotate", "Mark every object"),
        (replace(TRAINED, planes=5), "images", "All planes are annotated"),
        (replace(TRAINED, planes=5, saved=False), "train", "Save the prompt."),
        (
            replace(TRAINED, planes=5, saved=False, sparse=True),
            "train",
            "annotate more where it fails",
        ),
        (replace(LAYER, sparse=True), "annotate", "strokes on the background"),
        (replace(LAYER, sparse=True, painted=2, counting=2), "annotate", "Scribble on more"),
    ],
)
def test_the_next_step(now: Situation, place: str, words: str) -> None:
    where, sentence = next_step(now)
    assert where == place and words in sentence
    assert sentence.endswith(".") and len(sentence) < 120


def test_one_more_plane_is_one() -> None:
    assert "1 more plane is annotated" in next_step(replace(TRAINED, counting=6))[1]
