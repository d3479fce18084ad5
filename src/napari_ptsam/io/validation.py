"""Plain values of files: each is checked for its type before anything is made of it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from napari_ptsam.errors import InputError


def _checked(value: Any, kind: type, what: str) -> Any:
    if type(value) is not kind:
        raise InputError(f"{what} was expected where a {type(value).__name__} stands")
    return value


def as_text(value: Any) -> str:
    """A string; anything else is an InputError, as in all of these."""
    return str(_checked(value, str, "text"))


def as_integer(value: Any) -> int:
    """A whole number; True and False are none."""
    return int(_checked(value, int, "a whole number"))


def as_flag(value: Any) -> bool:
    """True or False."""
    return bool(_checked(value, bool, "yes or no"))


def as_list(value: Any) -> list[Any]:
    """A list."""
    return list(_checked(value, list, "a list"))


def as_mapping(value: Any) -> dict[str, Any]:
    """A dict whose keys are strings."""
    return {as_text(key): item for key, item in _checked(value, dict, "a table").items()}


def as_number(value: Any) -> float:
    """A finite number."""
    if type(value) not in (int, float) or not np.isfinite(value):
        raise InputError("a finite number was expected")
    return float(value)


def as_colour(value: Any) -> str:
    """A colour of the form ``#RRGGBB``."""
    if not re.fullmatch(r"#[0-9A-Fa-f]{6}", as_text(value)):
        raise InputError("a colour is not of the form #RRGGBB")
    return str(value)


def python_values(value: Any) -> Any:
    """The same with Python's own numbers and lists in place of numpy's and tuples."""
    if isinstance(value, dict):
        return {key: python_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [python_values(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
