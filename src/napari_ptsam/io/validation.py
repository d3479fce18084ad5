"""Dataclasses from the plain values that files hold, each value checked for its type."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from napari_ptsam.errors import InputError

Kind = TypeVar("Kind")

EXPECTED = {
    "bool_type": "yes or no",
    "dataclass_exact_type": "a table",
    "dataclass_type": "a table",
    "dict_type": "a table",
    "finite_number": "a finite number",
    "float_type": "a finite number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "string_type": "text",
    "tuple_type": "a list",
}
"""Our words for the types that pydantic names in its errors."""


def read_values(
    kind: type[Kind], values: Any, optional: Collection[str] = (), limit: int | None = None
) -> Kind:
    """Make a dataclass from the values of a file.

    Parameters
    ----------
    kind
        A dataclass, with or without further dataclasses in it.
    values
        Values as JSON has them: dicts, lists, texts, numbers, True, False and None. Keys that
        the dataclass does not have are ignored.
    optional
        Names of fields, in all dataclasses, that may be missing although others with a default
        may not.
    limit
        Number of values and characters above which they are refused; for files in which a
        part can be there many times by reference, so that a small file unfolds to a huge one.

    Raises
    ------
    InputError
        If a value is missing, has another type, or is refused by the dataclass.
    """
    if limit is not None:
        _check_size(values, limit)
    try:
        text = json.dumps(values, allow_nan=False)
    except ValueError as error:
        raise InputError("a finite number was expected") from error
    except TypeError as error:
        raise InputError("a value is neither text, a number, a list nor a table") from error
    try:
        instance: Kind = _adapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise _input_error(error) from error
    _check_complete(values, asdict(instance), optional)  # type: ignore[call-overload]
    return instance


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the adapter of a class, which takes a while to build the first time."""
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def _check_size(values: Any, limit: int) -> None:
    remaining, count = [values], 0
    while remaining:
        value = remaining.pop()
        if isinstance(value, dict):
            remaining += [*value, *value.values()]
        elif isinstance(value, (list, tuple)):
            remaining += value
        count += len(value) if isinstance(value, str) else 1
        if count + len(remaining) > limit:
            raise InputError("there are far too many values")


def _input_error(error: ValidationError) -> InputError:
    """Return our error for the first that pydantic found."""
    first = error.errors(include_url=False)[0]
    raised = first.get("ctx", {}).get("error")
    if isinstance(raised, InputError):
        return raised
    *above, name = map(str, first["loc"] or ("the file",))
    within = f" in {'.'.join(above)}" if above else ""
    if first["type"] == "missing":
        return InputError(f"'{name}' is missing{within}")
    expected = EXPECTED.get(first["type"])
    if expected is None:
        return InputError(f"the value of '{name}'{within} is not known")
    stands = type(first["input"]).__name__
    return InputError(f"{expected} was expected where a {stands} stands: '{name}'{within}")


def _check_complete(values: Any, known: Any, optional: Collection[str] = ()) -> None:
    """Make sure that no value was left to its default: files hold all of them."""
    if isinstance(known, dict) and isinstance(values, dict):
        for name, value in known.items():
            if name in values:
                _check_complete(values[name], value, optional)
            elif name not in optional:
                raise InputError(f"'{name}' is missing")
    elif isinstance(known, tuple) and isinstance(values, (list, tuple)):
        for value, part in zip(values, known, strict=True):
            _check_complete(value, part, optional)


def python_values(value: Any) -> Any:
    """Return plain values with Python's numbers and lists in place of numpy's and tuples."""
    if isinstance(value, dict):
        return {key: python_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [python_values(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
