"""Values of files become dataclasses, each value checked."""

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import pytest

from napari_ptsam.errors import InputError
from napari_ptsam.io.validation import read_values


@dataclass(frozen=True)
class Part:
    side: int
    overlap: float = 0.5


@dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    name: str = ""
    done: bool | None = None


GOOD: dict[str, Any] = {"parts": [{"side": 3, "overlap": 1}], "name": "a", "done": None}


def test_values_become_a_dataclass() -> None:
    assert read_values(Whole, GOOD | {"more": 1}) == Whole((Part(3, 1.0),), "a")
    assert read_values(Whole, {"parts": [], "done": True}, optional=["name"]) == Whole((), "", True)


@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        ("'name' is missing", {key: GOOD[key] for key in ("parts", "done")}),
        ("'overlap' is missing", GOOD | {"parts": [{"side": 3}]}),
        ("'side' is missing in parts.0", GOOD | {"parts": [{"overlap": 0.5}]}),
        ("a list was expected where a dict stands: 'parts'", GOOD | {"parts": {}}),
        ("a table was expected where a int stands: '0' in parts", GOOD | {"parts": [1]}),
        (
            "a whole number was expected where a str",
            GOOD | {"parts": [{"side": "3", "overlap": 1}]},
        ),
        ("a whole number was expected", GOOD | {"parts": [{"side": 3.5, "overlap": 1}]}),
        ("a whole number was expected", GOOD | {"parts": [{"side": True, "overlap": 1}]}),
        ("a finite number was expected", GOOD | {"parts": [{"side": 3, "overlap": float("nan")}]}),
        ("text was expected", GOOD | {"name": 3}),
        ("yes or no was expected", GOOD | {"done": 1}),
        ("neither text, a number", GOOD | {"name": object()}),
    ],
)
def test_wrong_values_are_named(message: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=message) as raised:
        read_values(Whole, wrong)
    assert "pydantic" not in str(raised.value) and "\n" not in str(raised.value)


def test_a_small_structure_that_unfolds_to_a_huge_one_is_refused() -> None:
    values: list[Any] = ["text"]
    for _ in range(40):
        values = [values] * 10
    begin = perf_counter()
    with pytest.raises(InputError, match="too many values"):
        read_values(Whole, GOOD | {"more": values}, limit=2**20)
    assert perf_counter() - begin < 5
