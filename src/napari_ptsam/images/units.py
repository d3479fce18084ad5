"""Units of length and time, by the names that OME, NGFF (OME-Zarr), ImageJ and pint have for them."""

from __future__ import annotations

from dataclasses import dataclass

_PREFIXES = {
    "yotta": ("Y", 24), "zetta": ("Z", 21), "exa": ("E", 18), "peta": ("P", 15), "tera": ("T", 12),
    "giga": ("G", 9), "mega": ("M", 6), "kilo": ("k", 3), "hecto": ("h", 2), "deca": ("da", 1),
    "": ("", 0), "deci": ("d", -1), "centi": ("c", -2), "milli": ("m", -3), "micro": ("µ", -6),
    "nano": ("n", -9), "pico": ("p", -12), "femto": ("f", -15), "atto": ("a", -18),
    "zepto": ("z", -21), "yocto": ("y", -24),
}  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """A unit of length or time.

    Attributes
    ----------
    name
        Name in NGFF and pint.
    symbol
        Symbol in OME.
    factor
        Number of meters or seconds in one of the unit.
    in_ngff
        Whether NGFF knows the unit.
    """

    name: str
    symbol: str
    factor: float
    in_ngff: bool = True


def _with_prefixes(name: str, symbol: str) -> list[Unit]:
    return [
        Unit(prefix + name, short + symbol, float(f"1e{power}"), prefix != "deca")
        for prefix, (short, power) in _PREFIXES.items()
    ]


LENGTHS = {
    unit.name: unit
    for unit in (
        *_with_prefixes("meter", "m"),
        Unit("angstrom", "Å", 1e-10),
        Unit("thou", "thou", 2.54e-5, False),
        Unit("line", "li", 0.0254 / 12, False),
        Unit("inch", "in", 0.0254),
        Unit("foot", "ft", 0.3048),
        Unit("yard", "yd", 0.9144),
        Unit("mile", "mi", 1609.344),
        Unit("astronomical_unit", "ua", 149597870700.0, False),
        Unit("light_year", "ly", 9460730472580800.0, False),
        Unit("parsec", "pc", 3.0856775814913673e16),
        Unit("point", "pt", 0.0254 / 72, False),
    )
}
"""The units of length by their names."""

TIMES = {
    unit.name: unit
    for unit in (
        *_with_prefixes("second", "s"),
        Unit("minute", "min", 60.0),
        Unit("hour", "h", 3600.0),
        Unit("day", "d", 86400.0),
    )
}
"""The units of time by their names."""

_FURTHER_NAMES = {
    "um": "micrometer", "micron": "micrometer", "microns": "micrometer", "inches": "inch",
    "\\u00b5m": "micrometer", "mum": "micrometer", "feet": "foot", "å": "angstrom",
    "us": "microsecond", "sec": "second", "secs": "second", "msec": "millisecond",
    "mins": "minute", "hr": "hour", "hrs": "hour",
}  # fmt: skip
"""Names in lower case that other programs write."""


def _names(units: dict[str, Unit]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the names of units by their symbols, and by other names in lower case."""
    symbols = {unit.symbol: unit.name for unit in units.values()}
    small = {symbol.lower(): name for symbol, name in reversed(symbols.items())}
    others = {name: known for name, known in _FURTHER_NAMES.items() if known in units}
    # Of symbols that differ by upper and lower case only, the smaller unit is the usual one.
    return symbols, {**small, **{s: n for s, n in symbols.items() if s.islower()}, **others}


_LENGTH_NAMES, _TIME_NAMES = _names(LENGTHS), _names(TIMES)


def length_name(text: str) -> str:
    """Return the name of a unit of length, whatever program has written it.

    Parameters
    ----------
    text
        A symbol or name, such as ``µm``, ``um``, ``micron``, ``\\u00B5m`` or ``micrometre``.

    Returns
    -------
    str
        A key of `LENGTHS`; ``pixel`` for no unit of length; an unknown unit as it is.
    """
    text = text.strip().replace("\N{GREEK SMALL LETTER MU}", "µ").replace("\N{ANGSTROM SIGN}", "Å")
    if text.lower() in ("", "pixel", "pixels", "px", "reference frame"):
        return "pixel"
    return _name(text, LENGTHS, *_LENGTH_NAMES) or text


def time_name(text: str) -> str | None:
    """Return the name of a unit of time, a key of `TIMES`; None if it is unknown."""
    text = text.strip().replace("\N{GREEK SMALL LETTER MU}", "µ")
    return _name(text, TIMES, *_TIME_NAMES)


def _name(
    text: str, units: dict[str, Unit], symbols: dict[str, str], others: dict[str, str]
) -> str | None:
    if text in symbols:
        return symbols[text]
    small = text.lower()
    name = small.replace("metre", "meter").replace(" ", "_")
    singular = name.removesuffix("s")
    return next((known for known in (name, singular) if known in units), others.get(small))


def converted(value: float, unit: str, to: str) -> float | None:
    """Convert a length or time from one unit to another.

    Parameters
    ----------
    value
        The number.
    unit, to
        Keys of `LENGTHS` or of `TIMES`. The value stays as it is if they are equal.

    Returns
    -------
    float or None
        The number in the other unit, with 12 significant digits. None if one of the units is
        unknown, or one is a length and the other a time.
    """
    if unit == to:
        return value
    for units in (LENGTHS, TIMES):
        if unit in units and to in units:
            return float(f"{value * (units[unit].factor / units[to].factor):.12g}")
    return None
