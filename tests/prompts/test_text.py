"""A prompt as one line of text."""

import random
import string
from dataclasses import replace

import numpy as np
import pytest

from conftest_prompts import head, make, same_heads
from napari_ptsam.errors import InputError, PromptFileError
from napari_ptsam.prompts.prompt import Prompt
from napari_ptsam.prompts.text import HEAD_LIMIT, LIMIT, MARK, WITH_DETAIL, from_text, to_text


@pytest.fixture(scope="module")
def line() -> str:
    return to_text(make())


def test_everything_but_the_last_digits_comes_back() -> None:
    prompt = make(3)
    found = from_text(to_text(prompt))
    assert np.array_equal(found.tokens, prompt.tokens.astype(np.float16).astype(np.float32))
    for name in set(Prompt.__dataclass_fields__) - {"tokens", "origin"}:
        assert getattr(found, name) == getattr(prompt, name)
    assert found.origin == replace(prompt.origin, versions={})


@pytest.mark.parametrize("scale", [0.01, 1.0, 3.0])
def test_one_line_of_fewer_than_6000_characters(scale: float) -> None:
    tokens = scale * np.random.default_rng(1).normal(size=(1, 8, 256)).astype(np.float32)
    text = to_text(make(tokens=tokens, notes="n" * 300, licence="CC-BY-4.0"))
    assert text.startswith(MARK) and len(text) < LIMIT and len(text.split()) == 1
    assert text.isascii() and text.isprintable()


@pytest.mark.parametrize("way", ["  {}\n", "> {}", "`{}`", "“{}”"])
def test_what_chats_add_does_not_matter(line: str, way: str) -> None:
    wrapped = "\r\n".join(line[i : i + 76] for i in range(0, len(line), 76))
    assert np.array_equal(from_text(way.format(wrapped)).tokens, from_text(line).tokens)


LETTERS = string.ascii_letters + string.digits + "+/"


def damaged(line: str, kind: int, rng: random.Random) -> str:
    """The line in one of eight ways that it can be damaged on."""
    first, last = sorted(rng.sample(range(len(line)), 2))
    before, after = line[:first], line[first + 1 :]
    if kind == 0:  # ended early
        return before
    if kind == 1:  # a character lost
        return before + after
    if kind == 2:  # a character changed
        return before + rng.choice(LETTERS.replace(line[first], "")) + after
    if kind == 3:  # a character too many
        return before + rng.choice(LETTERS) + line[first:]
    if kind == 4:  # a part lost
        return before + line[last:]
    if kind == 5:  # a part changed
        return before + "".join(rng.choices(string.printable, k=20)) + line[first + 20 :]
    if kind == 6:  # more at its end
        return line + rng.choice(LETTERS) * rng.randrange(1, 5)
    return MARK + "".join(rng.choices(LETTERS, k=rng.randrange(6000)))  # never was one


def test_2000_damaged_lines_are_declined(line: str) -> None:
    rng = random.Random(0)
    for number in range(2000):
        with pytest.raises(PromptFileError):
            from_text(damaged(line, number % 8, rng))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "This is no prompt as text; it begins with ptsam1:"),
        ("hello", "This is no prompt as text"),
        ("ptsam3:abc", "of a newer napari-ptsam"),
        ("ptsam2:abc", "is damaged"),
        (WITH_DETAIL + "A" * 5000, "is damaged"),
        (MARK, "is damaged"),
        (MARK + "A" * 5000, "is damaged"),
    ],
)
def test_what_is_no_prompt(text: str, message: str) -> None:
    with pytest.raises(PromptFileError, match=message):
        from_text(text)


def test_what_does_not_fit_is_declined() -> None:
    with pytest.raises(InputError, match="with encoder tokens is too long"):
        to_text(make(encoder_tokens=(np.zeros((8, 160), np.float32),)))
    noise = "".join(random.Random(0).choices(string.printable[:90], k=990))
    with pytest.raises(InputError, match="shorten the notes"):
        to_text(make(notes=noise, licence=""))
    with pytest.raises(InputError, match="too large"):
        to_text(make(tokens=np.full((1, 8, 256), 1e6, np.float32)))


@pytest.mark.parametrize("detail", [(head(),), (None, head(8, 0.25)), (head(1), head(14, 0.5, 1))])
def test_detail_heads_are_kept_exactly(detail) -> None:
    prompt = make(len(detail), detail=detail, notes="n" * 500)
    text = to_text(prompt)
    heads = sum(each is not None for each in detail)
    # Earlier versions say of this mark that it is that of a newer napari-ptsam.
    assert text.startswith(WITH_DETAIL) and len(text) < LIMIT * len(detail) + HEAD_LIMIT * heads
    found = from_text(text)
    assert same_heads(found, prompt)
    assert to_text(replace(prompt, detail=())).startswith(MARK)
    with pytest.raises(PromptFileError, match="is damaged"):
        from_text(text.replace(WITH_DETAIL, MARK))


def test_markers_are_left_out() -> None:
    prompt = make(markers=np.ones((1, 8, 256), np.float32))
    assert from_text(to_text(prompt)).markers is None


def test_a_pasted_prompt_segments_as_the_original(prompt: Prompt, backbone, nuclei) -> None:
    from napari_ptsam.datasets.annotated_planes import annotate
    from napari_ptsam.datasets.pairing import pair
    from napari_ptsam.evaluation.evaluate import evaluate, summary
    from napari_ptsam.inference.segment import Segmenter

    annotations = annotate(*pair(*nuclei))
    pasted = from_text(to_text(prompt))
    ious = [
        summary(list(evaluate(annotations, Segmenter(one, backbone))), one.classes)["iou"]
        for one in (prompt, pasted)
    ]
    assert ious[0] == pytest.approx(ious[1], abs=0.002)
    assert np.array_equal(prompt.tokens, pasted.tokens)  # a training has rounded them
