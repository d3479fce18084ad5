"""Loading torch into a process in which a graphics driver is at work already."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec

TRITON = "triton._C.libtriton"


def load_torch() -> None:
    """Import torch; call this in a worker.

    torchvision makes torch import triton where it is installed (on Linux, with
    CUDA builds). Triton brings an LLVM of its own, Mesa's drivers load another
    one for all to see, and with the symbols of both mixed up the process dies.
    So triton is made to look at its own symbols first.
    """
    if sys.platform == "linux" and TRITON not in sys.modules and find_spec("triton") is not None:
        before = sys.getdlopenflags()
        sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
        try:
            import_module(TRITON)
        except ImportError:  # a broken installation; torch does without
            pass
        finally:
            sys.setdlopenflags(before)
    import_module("torch")
