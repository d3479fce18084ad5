"""What people are told about a prompt."""

import pytest

from conftest_prompts import head, make
from napari_ptsam.prompts.describe import describe, facts, fine_detail


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ((1,), "labels are refined at full strength"),
        ((0.5,), "labels are refined at half strength"),
        ((0.25, 0.25), "labels are refined at a quarter of the strength"),
        ((0.3,), "labels are refined at 30% of the strength"),
        ((None, 1), "labels are refined: class 0 not at all, class 1 at full strength"),
    ],
)
def test_fine_detail_in_words(shares: tuple[float | None, ...], words: str) -> None:
    heads = tuple(None if share is None else head(share=share) for share in shares)
    prompt = make(len(shares), detail=heads)
    assert fine_detail(prompt) == facts(prompt)["Fine detail"] == words
    count = sum(each.parameters.size for each in heads if each is not None)
    assert f"{count:,} of them in fine detail" in facts(prompt)["Parameters"]
    assert f"Fine detail {words}" in describe(prompt)


def test_a_prompt_without_heads_says_nothing_of_them() -> None:
    assert fine_detail(make()) == "" and "ine detail" not in describe(make())
