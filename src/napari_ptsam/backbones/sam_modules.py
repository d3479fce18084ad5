"""Import modules of segment-anything without the package around them."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from threading import Lock
from types import ModuleType

PACKAGE = "segment_anything"

_IMPORTING = Lock()


@cache
def sam_module(name: str) -> ModuleType:
    """Import a module of segment-anything, but not torchvision.

    The package imports its predictor, and with it torchvision. That takes as
    long as importing torch does, and nothing here uses either.

    Parameters
    ----------
    name
        Name of the module in the package, such as ``modeling``.

    Returns
    -------
    module
        The module. If the whole package was imported before, it is that of the
        package; otherwise a later import of the package makes its own.
    """
    with _IMPORTING:
        spec = find_spec(PACKAGE)
        if PACKAGE in sys.modules or spec is None:
            return import_module(f"{PACKAGE}.{name}")
        # A package that was not executed has a path, which is all that its modules need.
        sys.modules[PACKAGE] = module_from_spec(spec)
        try:
            return import_module(f"{PACKAGE}.{name}")
        finally:
            for module in [m for m in sys.modules if m.partition(".")[0] == PACKAGE]:
                del sys.modules[module]
