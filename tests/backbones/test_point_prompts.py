"""Clicks, boxes and former masks against segment-anything's own modules, in float32."""

import numpy as np
import pytest
import torch
from test_equality import TOLERANCE, build_reference_sam

import napari_ptsam as ptsam
from napari_ptsam.backbones.point_prompts import Clicks, _encode, click_masks

pytestmark = pytest.mark.usefixtures("all_threads")

ONE = Clicks(((70.0, 61.5),), (True,))
SEVERAL = Clicks(((70.0, 61.5), (20.0, 30.0), (90.25, 64.0)), (True, False, True))
BOX = Clicks(box=(40.0, 30.0, 100.0, 95.0))
BOX_AND_CLICKS = Clicks(SEVERAL.points, SEVERAL.positive, BOX.box)


@pytest.fixture(scope="module")
def sam():
    return build_reference_sam()


@pytest.fixture(scope="module")
def embedding(exact_backbone, nuclei) -> torch.Tensor:
    crop = nuclei[0][0].astype(np.float32)
    crop = (crop - crop.min()) / np.ptp(crop)
    return exact_backbone.encoder([np.repeat(crop[..., None], 3, -1)], dtype=torch.float32)[0]


@torch.no_grad()
def theirs(sam, embedding, clicks: Clicks, side: int, former=None):
    """Four masks and their IoUs, positions given in pixels of the tile."""
    scale = 1024 / side

    def xy(positions) -> torch.Tensor:
        # Whole numbers are centres of pixels, in the tile and in the encoder's square.
        return (torch.tensor(positions).flip(-1) + 0.5) * scale - 0.5

    points = (xy(clicks.points)[None], torch.tensor([clicks.positive]).int())
    sparse, dense = sam.prompt_encoder(
        points if clicks.points else None,
        xy((clicks.box[:2], clicks.box[2:])).reshape(1, 4) if clicks.box else None,
        None if former is None else former[None, None],
    )
    image = embedding.T.reshape(1, 256, 64, 64)
    positions = sam.prompt_encoder.get_dense_pe()
    return sam.mask_decoder.predict_masks(image, positions, sparse, dense)


@pytest.mark.parametrize("side", [128, 1024])
@pytest.mark.parametrize("with_former", [False, True])
@pytest.mark.parametrize("clicks", [ONE, SEVERAL, BOX, BOX_AND_CLICKS])
def test_masks_are_segment_anythings(
    exact_backbone, sam, embedding, clicks, with_former, side
) -> None:
    former = theirs(sam, embedding, ONE, side)[0][0, 1] if with_former else None
    expected, expected_ious = theirs(sam, embedding, clicks, side, former)
    decoder = exact_backbone.decoder
    with torch.no_grad():
        masks, ious = decoder.masks(embedding[None], *_encode(decoder, clicks, side, former))
    assert masks.shape == (1, 4, 256, 256) and expected.std() > 1  # else equality means nothing
    torch.testing.assert_close(masks, expected, atol=TOLERANCE, rtol=TOLERANCE)
    torch.testing.assert_close(ious, expected_ious, atol=TOLERANCE, rtol=TOLERANCE)
    answer, _ = click_masks(decoder, embedding, clicks, side, former)
    torch.testing.assert_close(answer, expected[0], atol=TOLERANCE, rtol=TOLERANCE)


def test_clicks_and_former_masks_matter(exact_backbone, embedding) -> None:
    """Else the equality above could be one of answers that ignore the prompt."""
    decoder = exact_backbone.decoder
    plain = click_masks(decoder, embedding, SEVERAL, 128)[0][0]
    refined = click_masks(decoder, embedding, SEVERAL, 128, former=plain)[0][0]
    assert (plain - refined).abs().max() > 1
    flipped = Clicks(SEVERAL.points, (False, True, True))
    assert (click_masks(decoder, embedding, flipped, 128)[0][0] - plain).abs().max() > 1


def test_learned_tokens_take_the_same_path(exact_backbone, embedding) -> None:
    """`__call__` is mask 0 of `masks`; test_equality.py holds it to segment-anything's."""
    decoder = exact_backbone.decoder
    tokens = decoder.foreground_label + 0.1 * torch.randn(8, 256)
    batch = torch.stack([embedding, embedding.flip(0)])
    with torch.no_grad():
        called, masks = decoder(batch, tokens), decoder.masks(batch, tokens)[0]
    assert called.shape == (2, 256, 256)
    torch.testing.assert_close(called, masks[:, 0], atol=1e-5, rtol=1e-5)


def test_pixels_of_clicks() -> None:
    assert SEVERAL.pixels(True, (128, 128)) == [(70, 62), (90, 64)]
    assert SEVERAL.pixels(False, (128, 128)) == [(20, 30)]
    assert SEVERAL.pixels(True, (80, 128)) == [(70, 62)]  # the other lies beyond the array
    assert SEVERAL.pixels(True, (40, 40), scale=4) == [(17, 15), (22, 16)]


def test_positions_relative_to_a_tile() -> None:
    relative = BOX_AND_CLICKS.relative_to(10, 20)
    assert relative.points[1] == (10.0, 10.0) and relative.box == (30.0, 10.0, 90.0, 75.0)
    assert relative.positive == SEVERAL.positive and ONE.relative_to(1, 1).box is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "No click is on the object"),
        ({"points": ((1.0, 1.0),), "positive": (False,)}, "No click is on the object"),
        ({"points": ((1.0, 1.0),), "positive": ()}, "1 clicks and 0 such marks"),
        ({"points": ((1.0, float("nan")),), "positive": (True,)}, "no finite position"),
        ({"box": (1.0, 1.0, float("inf"), 2.0)}, "no finite position"),
        ({"box": (5.0, 5.0, 5.0, 9.0)}, "no area"),
    ],
)
def test_clicks_that_say_nothing_are_refused(arguments, message: str) -> None:
    with pytest.raises(ptsam.InputError, match=message):
        Clicks(**arguments)
