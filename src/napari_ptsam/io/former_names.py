"""Names of earlier versions, which are still accepted but no longer shown.

A dataclass declares them with `accept_former_names`. Python code that uses them gets a
DeprecationWarning that gives the new name. Command lines and session files are read with
`former_names_of` and `with_current_names`, without a warning.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import wraps
from typing import Any, TypeVar

Class = TypeVar("Class", bound=type)

FORMER = "__former_names__"
"""Attribute of a class that holds its `FormerNames`."""
SKIPPED = ("napari_ptsam", "dataclasses", "copy")
"""Packages that a warning does not point to, as they only pass on what the user wrote."""


@dataclass(frozen=True)
class FormerNames:
    """Former names of the fields of a class, and of the values of its fields.

    Attributes
    ----------
    names
        Current name of a field, by its former name.
    values
        Current value, by the former one, for each field whose values were renamed.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def current_value(self, name: str, value: Any) -> Any:
        """Return the current name of a field's value; other values are returned as they are."""
        return self.values.get(name, {}).get(value, value) if isinstance(value, str) else value


def accept_former_names(
    names: Mapping[str, str] | None = None, values: Mapping[str, Mapping[str, str]] | None = None
) -> Callable[[Class], Class]:
    """Make a dataclass accept former names as keyword arguments, attributes and values.

    If a field is given by both names, its former name takes precedence:
    `dataclasses.replace` passes all fields by their current names.

    Parameters
    ----------
    names, values
        See `FormerNames`.
    """
    former = FormerNames(names or {}, values or {})

    def decorate(accepting: Class) -> Class:
        setattr(accepting, FORMER, former)
        accepting.__init__ = _with_current_arguments(accepting, accepting.__init__, former)  # type: ignore[misc]
        for old, new in former.names.items():
            setattr(accepting, old, _attribute(old, new))
        return accepting

    return decorate


def former_names_of(accepting: type) -> FormerNames:
    """Return the former names that a class accepts."""
    former: FormerNames = getattr(accepting, FORMER, FormerNames())
    return former


def with_current_names(accepting: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values under the current names of a class's fields.

    Where both names are given, the value of the current one is taken. Keys that are no
    fields are kept.
    """
    former = former_names_of(accepting)
    current = {former.names.get(name, name): value for name, value in values.items()}
    current |= {name: value for name, value in values.items() if name not in former.names}
    return {name: former.current_value(name, value) for name, value in current.items()}


def _with_current_arguments(
    accepting: type, init: Callable[..., None], former: FormerNames
) -> Callable[..., None]:
    order = [each.name for each in fields(accepting)]

    @wraps(init)
    def with_current_arguments(self: Any, *positional: Any, **named: Any) -> None:
        for old in former.names.keys() & named.keys():
            _warn(f"{old}=", f"{former.names[old]}=")
            named[former.names[old]] = named.pop(old)
        listed = [_current(former, n, v) for n, v in zip(order, positional, strict=False)]
        listed += positional[len(order) :]
        init(self, *listed, **{n: _current(former, n, v) for n, v in named.items()})

    return with_current_arguments


def _current(former: FormerNames, name: str, value: Any) -> Any:
    """Return the current name of a field's value, and warn if it is another one."""
    current = former.current_value(name, value)
    if current is not value:
        _warn(f"{name}={value!r}", f"{name}={current!r}")
    return current


def _attribute(old: str, new: str) -> property:
    def read(self: Any) -> Any:
        _warn(f".{old}", f".{new}")
        return getattr(self, new)

    return property(read, doc=f"Former name of `{new}`.")


def _warn(old: str, new: str) -> None:
    """Warn of a former name, at the line outside of this package that uses it."""
    level, frame = 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in SKIPPED:
        level, frame = level + 1, frame.f_back
    warnings.warn(f"{old} is now called {new}; use the new name.", DeprecationWarning, level)
