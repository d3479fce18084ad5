"""What can be wrong with annotations is said before anything is computed."""

import numpy as np
import pytest
import tifffile
from skimage.segmentation import find_boundaries

import napari_ptsam as ptsam
from conftest_data import real_pair
from napari_ptsam.datasets.annotated_planes import AnnotationSet, MaskReading, annotate
from napari_ptsam.datasets.missing import without_missing
from napari_ptsam.datasets.split import choose_held_out, split
from napari_ptsam.images.planes import PixelSize, Planes
from napari_ptsam.training.scale import choose_tiling, object_size, structure_width
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.tiles import measurable_part, plan, turn

IMAGE = np.zeros((32, 40), np.uint8)
MASK = np.zeros((32, 40), np.uint8)
MASK[4:12, 4:12], MASK[20:28, 20:28] = 1, 2


def annotated(masks, images=None, **reading) -> AnnotationSet:
    images = [IMAGE] * len(masks) if images is None else images
    return annotate(
        [Planes(image, name=f"image {i}") for i, image in enumerate(images)],
        [Planes(mask, name=f"mask {i}") for i, mask in enumerate(masks)],
        MaskReading(**reading),
    )


def test_instances_are_foreground() -> None:
    example = annotated([MASK]).examples[0]
    assert np.array_equal(example.labels, MASK > 0)
    assert example.areas.tolist() == [64, 64] and example.valid is None
    assert np.array_equal(example.instances, MASK)


def test_one_value_for_many_objects_gives_the_same_sizes() -> None:
    example = annotated([(MASK > 0) * 255]).examples[0]
    assert example.areas.tolist() == [64, 64]


def test_classes_and_unlabelled_pixels() -> None:
    mask = MASK.copy()
    mask[:, 30:] = 9
    found = annotated([mask], classes=("round", "square"), unlabelled=9)
    example = found.examples[0]
    assert found.classes == ("round", "square")
    assert np.array_equal(example.labels, np.where(mask == 9, 0, mask))
    assert np.array_equal(example.valid, mask != 9) and example.instances is None


def test_zero_and_255_tell_no_instances_apart() -> None:
    examples = annotated([(MASK > 0).astype(np.uint8) * 255, (MASK == 1).astype(np.uint8)]).examples
    assert [example.instances for example in examples] == [None, None]
    examples = annotated([MASK, (MASK == 1).astype(np.uint8)]).examples
    assert all(example.instances is not None for example in examples)


def test_one_name_for_all_instances() -> None:
    found = annotated([MASK], classes=("nucleus",))
    assert found.classes == ("nucleus",)
    assert np.array_equal(found.examples[0].instances, MASK)


@pytest.mark.parametrize("dtype", [bool, np.int16, np.uint16, np.float32])
def test_masks_of_whole_numbers_in_any_dtype(dtype) -> None:
    assert annotated([(MASK > 0).astype(dtype)]).examples[0].labels.sum() == 128


def test_grey_masks_saved_as_colour_pictures() -> None:
    colour = np.repeat(MASK[..., None], 4, axis=-1)
    colour[..., 3] = 255
    assert np.array_equal(annotated([colour]).examples[0].instances, MASK)


def test_empty_planes_as_asked_for() -> None:
    masks = [MASK, np.zeros_like(MASK)]
    assert len(annotated(masks, empty="background").examples) == 2
    assert len(annotated(masks, empty="skip").examples) == 1


def test_pixel_size_where_all_agree() -> None:
    for sizes, expected in (((1.0, 1.0), PixelSize(1.0, 1.0)), ((1.0, 2.0), None)):
        images = [Planes(IMAGE, pixel_size=PixelSize(size, size)) for size in sizes]
        assert annotate(images, [Planes(MASK)] * 2).pixel_size == expected


@pytest.mark.parametrize(
    ("masks", "options", "message"),
    [
        ([], {}, "no images to learn from"),
        ([np.zeros_like(MASK)], {}, "mask 0 has no foreground at all"),
        ([MASK, np.zeros_like(MASK)], {}, "mask 1 has no foreground at all"),
        ([np.zeros_like(MASK)], {"empty": "background"}, "No mask has any pixel of foreground"),
        ([np.zeros_like(MASK)], {"empty": "skip"}, "No plane has any annotation"),
        ([np.ones_like(MASK)], {}, "mask 0 has no background at all"),
        ([MASK.T], {}, "32 x 40 pixels but its mask mask 0 has 40 x 32"),
        ([MASK[None].repeat(3, 0)], {}, "in 3 planes"),
        ([MASK * 0.5], {}, "holds fractions"),
        ([np.where(MASK, np.inf, 0)], {}, "NaN or infinity"),
        ([np.where(MASK, np.nan, 0)], {}, "no foreground at all"),
        ([MASK.astype(int) - 1], {}, "negative values"),
        ([MASK + 1], {"classes": ("a", "b")}, "has the value 3, but only 2 classes"),
        ([MASK], {"classes": ("a", "b", "c")}, "any pixel of c"),
        ([MASK], {"classes": ("a", "a")}, "same name"),
        ([MASK], {"classes": ()}, "1 to 250 classes"),
        ([MASK], {"classes": ("",)}, "1 to 60 printable"),
        ([MASK], {"classes": ("a", "x" * 61)}, "1 to 60 printable"),
        ([MASK.astype(np.uint64) * 2**63], {}, "too large for numbers of objects"),
        ([MASK], {"empty": "whatever"}, "one of refuse"),
        ([np.dstack([MASK, MASK * 2, MASK])], {}, "colour picture"),
    ],
)  # fmt: skip
def test_one_sentence_for_every_mistake(masks, options, message: str) -> None:
    with pytest.raises(ptsam.InputError, match=message):
        annotated(masks, **options)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_not_annotated(bad: float) -> None:
    image = IMAGE.astype(np.float32)
    image[3, 3] = bad
    first, second = without_missing(annotated([MASK, MASK], images=[IMAGE, image])).examples
    assert first.valid is None and np.argwhere(~second.valid).tolist() == [[3, 3]]
    assert second.labels[3, 3] == 0


def test_numbers_that_do_not_match() -> None:
    with pytest.raises(ptsam.InputError, match="1 images but 2 masks"):
        annotate([Planes(IMAGE)], [Planes(MASK)] * 2)


@pytest.mark.parametrize(
    ("name", "objects", "whole"),
    [("bbbc039_nuclei", (24, 30), False), ("emps_particles", (90, 130), True),
     ("usiigaci_phase", (55, 70), True), ("nasa_meltpool", (55, 70), True)],
)  # fmt: skip
def test_scale_of_the_real_sets(name: str, objects, whole: bool) -> None:
    pairs = [real_pair(name, number) for number in range(16)]
    images, masks = ([tifffile.imread(pair[i]) for pair in pairs] for i in (0, 1))
    examples = annotated(masks, images).examples
    assert objects[0] < object_size(examples) < objects[1]
    tiling = choose_tiling(examples)
    assert tiling.whole == whole
    if not whole:  # two tiles across the longer side of 696 pixels
        assert tiling.side == 372


def test_outlines_are_seen_from_nearer_than_what_they_surround() -> None:
    pairs = [real_pair("bbbc039_nuclei", number) for number in range(4)]
    images, masks = ([tifffile.imread(pair[i]) for pair in pairs] for i in (0, 1))
    outlines = [find_boundaries(mask, mode="thick").astype(np.uint8) for mask in masks]
    nuclei, thin = (annotated(own, images).examples for own in (masks, outlines))
    # An edge of two to three pixels; the nuclei have a diameter of about 30, two thirds of it here.
    assert structure_width(thin) < 4 and 13 < structure_width(nuclei) < 22
    assert choose_tiling(thin).side < choose_tiling(nuclei).side / 2


def test_strokes_are_no_thin_structures() -> None:
    mask = np.full((200, 200), 9, np.uint8)
    mask[50:53, 20:180], mask[120:123, 20:180] = 1, 0
    strokes = annotated([mask], [mask], unlabelled=9).examples
    assert structure_width(strokes) is None and choose_tiling(strokes).whole
    seen = annotated([np.where(mask == 9, 0, mask)], [mask]).examples
    assert structure_width(seen) < 4 and not choose_tiling(seen).whole


def test_long_planes_are_cut() -> None:
    mask = np.zeros((20, 200), np.uint8)
    mask[5:10, 5:10] = 1
    tiling = choose_tiling(annotated([mask], [mask]).examples)
    assert not tiling.whole and tiling.side < 200


@pytest.mark.parametrize(("count", "held_out"), [(1, 0), (3, 0), (4, 1), (16, 2)])
def test_split(count: int, held_out: int) -> None:
    annotations = annotated([MASK] * count)
    training, measured = split(annotations, 0.15, seed=0)
    assert (len(training), len(measured)) == (count - held_out, held_out)
    assert {id(e) for e in training} & {id(e) for e in measured} == set()


def test_split_leaves_every_class_in_the_training_part() -> None:
    rare = np.where(MASK == 2, 3, MASK)
    annotations = annotated([MASK] * 7 + [rare], classes=("a", "b", "c"))
    for seed in range(20):
        training, measured = split(annotations, 0.25, seed)
        assert any((example.labels == 3).any() for example in training)
        assert len(measured) == 2


def test_a_split_of_the_annotations_own_is_kept() -> None:
    annotations = annotated([MASK] * 3).with_held_out({1})
    assert annotations.held_out == frozenset({1}) and annotated([MASK]).held_out is None
    training, measured = split(annotations, 0.15, seed=0)
    assert [id(e) for e in measured] == [id(annotations.examples[1])] and len(training) == 2
    with pytest.raises(ptsam.InputError, match="All annotated planes are validation planes"):
        split(annotations.with_held_out({0, 1, 2}), 0.15, seed=0)
    rare = annotated([MASK, np.where(MASK == 2, 3, MASK)], classes=("a", "b", "c"))
    with pytest.raises(ptsam.InputError, match="All planes with c on them are validation planes"):
        split(rare.with_held_out({1}), 0.15, seed=0)


def test_old_planes_stay_on_their_side_of_the_split() -> None:
    present = [{1}] * 12
    before = choose_held_out(present[:8], 1, 0.25, 0)
    known = [number in before for number in range(8)] + [None] * 4
    after = choose_held_out(present, 1, 0.25, 0, known)
    assert len(before) == 2 and len(after) == 3
    assert before == {number for number in after if number < 8}
    # Nothing new to choose from: what was trained on is not held out.
    assert choose_held_out(present, 1, 0.25, 0, [False] * 12) == frozenset()


def test_plan_bounds_the_embeddings_and_turns_tiles() -> None:
    from napari_ptsam.images.tiling import Tiling

    examples = annotated([MASK] * 3).examples
    rng = np.random.default_rng(0)
    jobs = plan(examples, Tiling(40, whole=True), 10, rng)
    assert [job.symmetry for job in jobs[:3]] == [0, 0, 0] and len(jobs) == 9
    assert len({(job.example, job.symmetry) for job in jobs}) == 9
    assert len(plan(examples, Tiling(40, whole=True), 100, rng)) == 24
    few = plan(examples, Tiling(16), 4, rng)
    assert len(few) == 4
    assert all(examples[job.example].labels[job.tile.window].any() for job in few)


def test_the_eight_symmetries_are_different() -> None:
    square = np.arange(9).reshape(3, 3)
    assert len({turn(square, symmetry).tobytes() for symmetry in range(8)}) == 8


def test_large_held_out_planes_are_measured_where_most_is_annotated() -> None:
    from napari_ptsam.images.settings import ImageSettings
    from napari_ptsam.images.tiling import Tiling

    mask = np.zeros((400, 400), np.uint8)
    mask[300:320, 300:320] = 1
    example = annotated([mask], [mask]).examples[0]
    part = measurable_part(example, ImageSettings(Tiling(32)))
    assert part.labels.sum() == 400
    assert len(Tiling(32).tiles(part.shape)) <= 9


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"batch_size": 0}, {"learning_rate": 0}, {"held_out": 0.9}, {"seed": -1},
     {"tile": 8}, {"tile": "large"}, {"embeddings": 0}, {"tile": 10**6}, {"steps": 1.5},
     {"seed": None}, {"tile": 128.5}, {"channels": 0}, {"normalization": "stack"}],
)  # fmt: skip
def test_senseless_settings(settings) -> None:
    with pytest.raises(ptsam.InputError):
        TrainingSettings(**settings)
