"""Import torch in a process in which a graphics driver is already loaded."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec

TRITON = "triton._C.libtriton"


def load_torch() -> None:
    """Import torch; call this in a worker, before anything else imports torch.

    On Linux with CUDA, torch imports triton. Triton contains an
    LLVM, and Mesa's drivers have loaded another one with global symbols. The process
    crashes if the two are mixed up, so triton is loaded with ``RTLD_DEEPBIND``, which
    makes it use its own symbols.
    """
    if sys.platform == "linux" and TRITON not in sys.modules and find_spec("triton") is not None:
        flags = sys.getdlopenflags()
        sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
        try:
            import_module(TRITON)
        except ImportError:  # triton's installation is broken; torch works without it
            pass
        finally:
            sys.setdlopenflags(flags)
    import_module("torch")
