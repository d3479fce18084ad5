"""Settings that are declared once, as annotated fields of a dataclass.

A field's annotation holds its type and range (pydantic's constraints), its title and
description (`pydantic.Field`), and, where these do not follow from the type, hints for
the command line and the forms (`Shown`). Everything else is made from the declaration:
the checks and their messages (`declared`), command-line options (``cli/setting_options.py``),
the rows of forms (``widgets/shared/setting_rows.py``) and the tables in
``docs/settings.md`` (``scripts/settings_tables.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache, wraps
from inspect import getdoc
from types import MappingProxyType
from typing import Any, TypeVar, get_type_hints

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from napari_ptsam.errors import InputError, Message, SettingName

LONGEST_VALUE = 60
"""Characters of a wrong value that a message quotes at most."""

KINDS: Mapping[str, type] = {"integer": int, "number": float, "boolean": bool}
"""Types of numbers by their name in a JSON schema."""
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
"""Limits of numbers in a JSON schema."""

HUGE = 2**53
"""Limits from here on are those of a number's storage, and messages leave them out."""

Declared = TypeVar("Declared", bound=type)


@dataclass(frozen=True)
class Shown:
    """Hints for the front ends on how to show a setting.

    Attributes
    ----------
    option
        The option on the command line, without dashes; None derives it from the name, an
        empty string makes no option because the command line has one of its own.
    metavar
        What the help of the command line shows in place of the value.
    row
        Whether the form has a row for it.
    choices
        Values that a form offers, with the words for each; by default the words of the type.
        An empty value stands for a number that the user enters in a row of its own.
    number_title, begin
        The label of that row, and the number that it shows at first.
    step, most, decimals, factor, suffix
        How a form shows a number: the step of its arrows, the largest value that it offers
        (if it is not that of the type), decimals, the factor by which it is multiplied, and
        its unit.
    preset
        Whether the default depends on the preset.
    """

    option: str | None = None
    metavar: str | None = None
    row: bool = False
    choices: Mapping[str, str] = field(default_factory=dict)
    number_title: str = ""
    begin: int = 0
    step: float = 1
    most: float | None = None
    decimals: int = 2
    factor: float = 1
    suffix: str = ""
    preset: bool = False


@dataclass(frozen=True)
class Setting:
    """A declared setting, as the front ends see it.

    Attributes
    ----------
    name, title, description
        Its name in Python, its label, and its help in one or a few sentences. Backquotes mark
        values, which a form shows in its own words.
    default
        Its default value.
    kind
        ``int``, ``float`` or ``bool`` if it may be one; None if it is none of these.
    words
        Texts that it may be.
    bounds
        JSON schema's ``minimum``, ``maximum``, ``exclusiveMinimum`` and ``exclusiveMaximum``,
        where numbers are limited.
    shown
        Hints for the front ends.
    """

    name: str
    title: str
    description: str
    default: Any
    kind: type | None
    words: tuple[str, ...]
    bounds: Mapping[str, float]
    shown: Shown

    @property
    def option(self) -> str:
        """The option of the command line, without dashes; empty if there is none."""
        return self.name.replace("_", "-") if self.shown.option is None else self.shown.option

    @property
    def expected(self) -> str:
        """The values that it may have, in words."""
        if self.kind is bool:
            return "True or False"
        numbers = {int: "a whole number", float: "a number"}.get(self.kind or str)
        begin = "" if numbers is None else f"{numbers}{self._range}"
        if begin and len(self.words) == 1:
            return f"{begin}, or {self.words[0]}"
        parts = [begin, *self.words] if begin else list(self.words)
        return " or ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))

    @property
    def _range(self) -> str:
        low, high = self.bounds.get("minimum"), self.bounds.get("maximum")
        if high is not None and high >= HUGE:  # the limit of the storage
            high = None
        above, below = self.bounds.get("exclusiveMinimum"), self.bounds.get("exclusiveMaximum")
        begin = f" above {above:,}" if low is None and above is not None else ""
        if low is not None:
            begin = f" from {low:,}"
        if high is not None:
            return f"{begin} to {high:,}" if low is not None else f"{begin} up to {high:,}"
        if below is not None:
            return f"{begin} and below {below:,}" if begin else f" below {below:,}"
        return f"{begin} up" if low is not None else begin

    def refuse(self, value: object) -> InputError:
        """Return the error for a value that it cannot have."""
        shown = repr(value)
        if len(shown) > LONGEST_VALUE:
            shown = shown[:LONGEST_VALUE] + "…"
        option = f"--{self.option}" if self.option else self.name
        name = SettingName(self.name, option, f"“{self.title}”")
        cause = f" is {self.expected}, not {shown}; the default is {self.default}."
        return InputError(Message(name, cause))


@cache
def settings_of(declared_class: type) -> Mapping[str, Setting]:
    """Return the settings that a class decorated with `declared` declares, by name."""
    schema = TypeAdapter(declared_class).json_schema()["properties"]
    hints = get_type_hints(declared_class, include_extras=True)
    defaults, settings = declared_class(), {}
    for each in fields(declared_class):
        field_schema = schema[each.name]
        options = field_schema.get("anyOf", [field_schema])
        kinds = [KINDS[o["type"]] for o in options if o.get("type") in KINDS]
        words = [w for o in options for w in o.get("enum", [o["const"]] if "const" in o else [])]
        bounds = {key: o[key] for o in options for key in BOUNDS if key in o}
        hinted = [h for h in getattr(hints[each.name], "__metadata__", ()) if isinstance(h, Shown)]
        settings[each.name] = Setting(
            name=each.name,
            title=field_schema["title"],
            description=field_schema.get("description", ""),
            default=getattr(defaults, each.name),
            kind=kinds[0] if kinds else None,
            words=tuple(words),
            bounds=bounds,
            shown=hinted[0] if hinted else Shown(),
        )
    return MappingProxyType(settings)


def declared(settings_class: Declared) -> Declared:
    """Turn a frozen dataclass with annotated fields into one whose values are checked.

    Pydantic checks the values when an instance is made, without changing their types
    (numpy's numbers become Python's). The class gets a section on its attributes in its
    docstring, made of the descriptions of its fields.

    Parameters
    ----------
    settings_class
        A frozen dataclass, all of whose fields have a default.

    Returns
    -------
    type
        A class of the same name; making an instance with a wrong value raises `InputError`.
    """
    config = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")
    checked: Any = pydantic_dataclass(settings_class, frozen=True, config=config)
    checked.__init__ = _with_input_errors(checked, checked.__init__)
    attributes = "\n".join(
        f"{each.name}\n    {each.description.replace('`', '``')}"
        for each in settings_of(checked).values()
    )
    checked.__doc__ = f"{getdoc(settings_class)}\n\nAttributes\n----------\n{attributes}\n"
    return checked


def _with_input_errors(checked: type, init: Callable[..., None]) -> Callable[..., None]:
    @wraps(init)
    def with_input_errors(self: Any, *values: Any, **named: Any) -> None:
        values = tuple(map(_python_value, values))
        named = {name: _python_value(value) for name, value in named.items()}
        try:
            init(self, *values, **named)
        except ValidationError as error:
            raise _input_error(checked, error) from error

    return with_input_errors


def _python_value(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _input_error(checked: type, error: ValidationError) -> Exception:
    """Return our error for what pydantic found; a TypeError for arguments that do not exist."""
    first = error.errors(include_url=False)[0]
    raised = first.get("ctx", {}).get("error")
    if isinstance(raised, InputError):
        return raised
    names = [each.name for each in fields(checked)]
    place = first["loc"][0] if first["loc"] else None
    name = names[place] if isinstance(place, int) and place < len(names) else place
    if name not in names:
        return TypeError(
            f"{checked.__name__} has no parameter {place!r}; it has {', '.join(names)}."
        )
    return settings_of(checked)[str(name)].refuse(first["input"])
