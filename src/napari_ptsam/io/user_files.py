"""Files that anybody may have made or damaged: whatever their readers raise becomes a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from napari_ptsam.errors import PtsamError

Value = TypeVar("Value")


@contextmanager
def unreadable_as(kind: type[PtsamError], told: Callable[[Exception], str]) -> Iterator[None]:
    """Turn every error of reading into one for the user's eyes.

    Which ones there are is not listed: zipfile, zlib, torch, json, numpy,
    tifffile, Pillow and zarr raise what they like on damaged files. So nothing
    but reading belongs inside.

    Parameters
    ----------
    kind
        What is raised; those of this kind already are passed on as they are.
    told
        Gives the message for an error.

    Raises
    ------
    PtsamError
        Of that kind.
    """
    try:
        yield
    except kind:
        raise
    except Exception as error:
        raise kind(told(error)) from error


def read_or(otherwise: Value, read: Callable[[], Value]) -> Value:
    """What ``read`` gives, or something else where it cannot read."""
    try:
        return read()
    except Exception:
        return otherwise
