"""The choice among SAM's masks: drawn ones, where the answer must be known."""

import numpy as np
import pytest
import torch

from napari_ptsam.annotation.candidates import object_areas, rank, usual_box
from napari_ptsam.backbones.point_prompts import Clicks
from napari_ptsam.errors import InputError, NoObjectError

SIDE, WHOLE = 512, (512, 512)
ONE = Clicks(((101.0, 101.0),), (True,))


def square(side: int, corner: int = 0) -> np.ndarray:
    """A square in 256 x 256 pixels of logits: twice the side in pixels of the tile."""
    mask = np.zeros((256, 256), bool)
    mask[corner : corner + side, corner : corner + side] = True
    return mask


EMPTY, PART, OBJECT, ALL = square(0), square(10, 45), square(30, 35), square(256)


def chosen(masks, ious, clicks=ONE, shape=WHOLE, areas=(), height=4.0) -> int:
    return ranked(masks, ious, clicks, shape, areas, height)[0]


def ranked(masks, ious, clicks=ONE, shape=WHOLE, areas=(), height=4.0) -> list[int]:
    logits = torch.from_numpy(np.where(np.stack(masks), height, -height).astype(np.float32))
    return rank(logits, torch.tensor(ious), clicks, SIDE, shape, areas)


def test_other_outlines_follow_but_not_background_or_the_same_one_twice() -> None:
    masks, ious = [OBJECT, PART, OBJECT, ALL], [0.9, 0.9, 0.8, 1.0]
    assert ranked(masks, ious) == [1, 0]
    assert ranked([OBJECT, EMPTY, PART, square(60, 20)], ious) == [0, 2, 3]
    two = Clicks(((101.0, 101.0), (105.0, 105.0)), (True, True))
    assert ranked(masks, ious, two) == [0, 1]


def test_the_whole_tile_is_no_object_however_sure_sam_is() -> None:
    assert chosen([OBJECT, PART, ALL, ALL], [0.9, 0.6, 1.0, 1.02]) == 0
    assert chosen([ALL, OBJECT, ALL, ALL], [0.9, 0.8, 1.0, 1.02]) == 1
    # The padding beyond a small plane does not count.
    with pytest.raises(NoObjectError):
        chosen([square(60, 3)] * 4, [0.9] * 4, shape=(131, 131))


def test_what_lies_along_the_border_is_no_object() -> None:
    """A strip of an eighth of the tile, as the mount above a specimen."""
    strip = np.zeros((256, 256), bool)
    strip[:32] = True
    with pytest.raises(NoObjectError):
        chosen([strip] * 4, [1.0] * 4, Clicks(((20.0, 100.0),), (True,)))


def test_earlier_objects_tell_a_part_from_a_whole() -> None:
    masks, ious = [OBJECT, PART, PART, ALL], [0.9, 0.9, 0.8, 1.0]
    assert chosen(masks, ious) == 1
    assert chosen(masks, ious, areas=[3600, 3000, 4000]) == 0
    assert chosen(masks, ious, areas=[400]) == 1


@pytest.mark.parametrize(
    ("masks", "ious", "height"),
    [
        ([ALL, EMPTY, ALL, ALL], [0.9, 0.5, 0.9, 1.0], 4.0),
        ([EMPTY] * 4, [1.0] * 4, 4.0),
        ([OBJECT] * 4, [0.4] * 4, 4.0),
        ([OBJECT] * 4, [0.7] * 4, 0.5),  # gone if the threshold is moved
        ([square(30, 90)] * 4, [1.0] * 4, 4.0),  # somewhere else
    ],
)
def test_the_background_is_declined_in_words(masks, ious, height) -> None:
    with pytest.raises(NoObjectError, match="Click nearer to the middle of an object") as told:
        chosen(masks, ious, height=height)
    assert isinstance(told.value, InputError)  # so it is shown as any other


def test_a_box_of_the_usual_size_may_be_better_but_finds_no_object_by_itself() -> None:
    assert usual_box(ONE, []) is None
    boxed = usual_box(ONE, [3600, 3000, 4000])
    assert boxed is not None and boxed.box == (62.0, 62.0, 140.0, 140.0)
    assert usual_box(on((1, 1), (2, 2)), [3600]) is None and usual_box(boxed, [3600]) is None
    masks = [PART, PART, PART, ALL, OBJECT]
    assert chosen(masks, [0.8, 0.8, 0.8, 1.0, 1.0], areas=[3600]) == 4
    assert chosen(masks, [0.8, 0.95, 0.8, 1.0, 0.9], areas=[400]) == 1
    with pytest.raises(NoObjectError):
        chosen(masks, [0.4, 0.4, 0.4, 1.0, 1.0], areas=[3600])


def test_a_speck_beside_large_objects_is_declined() -> None:
    speck = [square(2, 50)] * 4
    assert chosen(speck, [0.7] * 4) == 1
    with pytest.raises(NoObjectError):
        chosen(speck, [0.7] * 4, areas=[3600] * 5)


def on(*points: tuple[float, float], off: tuple[tuple[float, float], ...] = ()) -> Clicks:
    return Clicks((*points, *off), (True,) * len(points) + (False,) * len(off))


def test_several_clicks_take_sams_single_mask_or_one_that_agrees_more() -> None:
    further = on((101, 101), (75, 75))
    assert chosen([OBJECT, PART, OBJECT, ALL], [0.2, 0.9, 0.9, 1.0], further) == 0
    assert chosen([PART, PART, OBJECT, ALL], [0.9, 0.9, 0.2, 1.0], further) == 2
    less = on((101, 101), off=((75, 75),))
    assert chosen([OBJECT, PART, OBJECT, ALL], [0.9, 0.2, 0.9, 1.0], less) == 1


@pytest.mark.parametrize(
    ("masks", "clicks", "words"),
    [
        ([ALL] * 4, on((101, 101), (300, 300)), "spread over the background"),
        ([OBJECT] * 4, on((101, 101), (300, 300)), "cannot be extended to this place"),
        ([OBJECT] * 4, on((101, 101), off=((75, 75),)), "cannot be told apart"),
    ],
)
def test_a_further_click_that_changes_nothing_says_so(masks, clicks, words) -> None:
    with pytest.raises(NoObjectError, match=words):
        chosen(masks, [0.9] * 4, clicks)


def test_a_box_may_be_as_large_as_its_maker_likes() -> None:
    box = Clicks(box=(0.0, 0.0, 500.0, 500.0))
    assert chosen([ALL, OBJECT, OBJECT, OBJECT], [0.5] * 4, box) == 0


def test_areas_of_objects() -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[:3, :3], labels[10:14, 10:14] = 7, 2
    assert object_areas(labels) == [16, 9]
    assert object_areas(np.zeros((5, 5), int)) == []
