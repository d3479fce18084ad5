"""The backbone, loaded late and in a thread; the embeddings that everything shares."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_ptsam.widgets.loading import load_torch
from napari_ptsam.widgets.workers import IDLE, Jobs

if TYPE_CHECKING:
    from napari_ptsam.sam.backbones import Backbone


class Engine(QObject):
    """Gives the backbone to workers; none of its methods but `backbone` waits for torch.

    Parameters
    ----------
    jobs
        Where it is loaded.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    """

    state_changed = Signal(str)
    ready = Signal()

    def __init__(self, jobs: Jobs, device: str = "auto", parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._jobs, self._lock = jobs, Lock()
        self._device = device
        self._backbone: Backbone | None = None
        self._cache: Any = None
        self.state = "The backbone is not loaded yet."

    @property
    def device(self) -> str:
        """What was asked for."""
        return self._device

    def use(self, device: str) -> None:
        """Run on another device from now on."""
        if device == self._device:
            return
        with self._lock:
            self._device, self._backbone = device, None
            if self._cache is not None:
                self._cache.clear()
        self.load()

    def load(self) -> None:
        """Load the backbone in the background."""
        self._say("Loading the backbone (the first time takes some seconds)…")
        self._jobs.submit("backbone", self._load, self._loaded, self._say, priority=IDLE)

    def _load(self) -> Any:
        backbone = self.backbone()
        yield f"Ready: {backbone.name} on {device_name(str(backbone.device))}"

    def _loaded(self, state: str) -> None:
        self._say(state)
        self.ready.emit()

    def _say(self, state: str) -> None:
        self.state = state
        self.state_changed.emit(state)

    def backbone(self) -> Backbone:
        """The backbone; waits until it is loaded, so call this in a worker.

        Raises
        ------
        PtsamError
            If it cannot be had.
        """
        with self._lock:
            if self._backbone is None:
                load_torch()
                from napari_ptsam.sam.backbones import load_backbone
                from napari_ptsam.sam.cache import EmbeddingCache, with_cache

                self._cache = self._cache or EmbeddingCache()
                self._backbone = with_cache(load_backbone(device=self._device), self._cache)
            return self._backbone

    def close(self) -> None:
        """Forget all embeddings."""
        if self._cache is not None:
            self._cache.clear()


def device_name(device: str) -> str:
    """A device in words; loads torch for all but the CPU."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    return {"cpu": "the CPU", "mps": "Apple's GPU"}.get(device, device)
