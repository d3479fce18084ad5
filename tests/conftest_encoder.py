"""A memory of what the encoder's first stages compute, for tests of what comes after them."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 20
"""Number of tiles for each encoder; one takes 12 MB in bfloat16."""


class EarlyStages:
    """`QuickTinyViT.early_stages`, which computes nothing twice while `remembers` is set.

    The stages depend only on the pixels. The same few tiles are embedded with many different
    encoder tokens, and their early features are computed for each prompt with fine detail.

    Parameters
    ----------
    compute
        The method of the class.
    """

    remembers = True

    def __init__(self, compute: Callable[..., Any]) -> None:
        self.compute = compute
        self._known: WeakKeyDictionary[Any, OrderedDict[bytes, Any]] = WeakKeyDictionary()
        self._lock = Lock()

    def __call__(self, module: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        traced = type(pixels) is not torch.Tensor  # by the exporter
        if traced or not self.remembers or torch.is_grad_enabled() or pixels.device.type != "cpu":
            return self.compute(module, pixels)
        key = sha256(pixels.contiguous().view(torch.uint8).numpy()).digest()
        with self._lock:
            known = self._known.setdefault(module, OrderedDict())
            found = known.get(key)
        if found is None:
            found = self.compute(module, pixels)
            with self._lock:
                known[key] = found
                if len(known) > LIMIT:
                    known.popitem(last=False)
        return found
