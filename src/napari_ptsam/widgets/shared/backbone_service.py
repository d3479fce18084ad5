"""The backbone that the docks of a viewer share, loaded late and in a thread."""

from __future__ import annotations

from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_ptsam.backbones.catalogue import EMBEDDED_NAME, name_and_checkpoint, recommended
from napari_ptsam.errors import PtsamError
from napari_ptsam.widgets.shared.background_jobs import IDLE, BackgroundJobs, ignore
from napari_ptsam.widgets.shared.layers import without_proxy
from napari_ptsam.widgets.shared.torch_loading import load_torch
from napari_ptsam.widgets.shared.worker import Steps

if TYPE_CHECKING:
    import napari

    from napari_ptsam.backbones.embedding_cache import EmbeddingCache
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.prompts.prompt import Prompt


class BackboneService(QObject):
    """Provide the backbone to workers, with a cache of embeddings.

    The docks of a viewer share one service (see `shared_backbone_service`), so that the
    backbone is in memory once, and each tile is embedded once. Only `backbone` and
    `backbone_of` wait for torch.

    Parameters
    ----------
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    chosen
        Name of the backbone in the catalogue, or path of the user's own checkpoint.
    """

    state_changed = Signal(str)
    recommendation_changed = Signal()
    ready = Signal()

    def __init__(self, device: str = "auto", chosen: str = EMBEDDED_NAME) -> None:
        super().__init__()
        self._jobs = BackgroundJobs(self)
        self._loading = Lock()
        """Held for seconds while weights are loaded; only workers may acquire it."""
        self.users = 0
        self._choice = device, chosen
        self._loaded: tuple[tuple[str, str], Backbone] | None = None
        """The choice that the backbone was loaded for, and the backbone."""
        self._cache: EmbeddingCache | None = None
        self.state = "The base model is loaded when it is needed."
        self.advice = ""
        """Why a GPU of this machine is not used; empty if there is none, or while it is not known."""
        self.recommended = ""
        """Name of the backbone that suits this machine; empty while it is not known."""

    @property
    def device(self) -> str:
        """The device as it was chosen, which may be ``auto``."""
        return self._choice[0]

    @property
    def chosen(self) -> str:
        """Name of the backbone in the catalogue, or path of the user's own checkpoint."""
        return self._choice[1]

    def use(self, device: str, chosen: str | None = None) -> None:
        """Change the device, or the device and the backbone."""
        choice = device, chosen or self.chosen
        if choice == self._choice:
            return
        # A worker that is loading the previous choice notices this, and loads the new one.
        self._choice, self._loaded = choice, None
        if self._cache is not None:
            self._cache.clear()
        self.load()

    def load(self) -> None:
        """Load the backbone in the background."""
        if self._loaded is None:
            self._set_state("Loading the base model (the first time takes some seconds)…")
        self._jobs.submit("backbone", self._load, self._on_loaded, self._set_state, priority=IDLE)

    def recommend(self) -> None:
        """Determine in the background which backbone suits this machine."""
        if not self.recommended:
            self._jobs.submit("recommend", _recommend, self._on_recommended, ignore, priority=IDLE)

    def _on_recommended(self, name: str) -> None:
        self.recommended = name
        self.recommendation_changed.emit()

    def _load(self) -> Steps:
        backbone = self.backbone()
        from napari_ptsam.backbones.devices import unused_gpu

        advice = unused_gpu() if self.device == "auto" else ""
        state = f"Ready: base model {backbone.weights} on {device_name(str(backbone.device))}"
        yield f"{state}; the GPU is not used (point here)" if advice else state, advice

    def _on_loaded(self, loaded: tuple[str, str]) -> None:
        state, self.advice = loaded
        self._set_state(state)
        self.ready.emit()

    def _set_state(self, state: str) -> None:
        self.state = state
        self.state_changed.emit(state)

    def backbone(self) -> Backbone:
        """Return the chosen backbone, once it is loaded; call this in a worker.

        Raises
        ------
        PtsamError
            If the backbone cannot be loaded.
        """
        with self._loading:
            load_torch()
            from napari_ptsam.backbones.loading import load_backbone

            # The choice may change at any moment; the backbone of the last choice is returned.
            while (loaded := self._loaded) is None or loaded[0] != self._choice:
                choice = self._choice
                device, chosen = choice
                try:
                    backbone = load_backbone(*name_and_checkpoint(chosen), device)
                except PtsamError:
                    if choice == self._choice:
                        raise
                else:
                    self._loaded = choice, self._with_cache(backbone)
            return loaded[1]

    def _with_cache(self, backbone: Backbone) -> Backbone:
        from napari_ptsam.backbones.embedding_cache import EmbeddingCache, with_users_cache

        if self._cache is None:
            self._cache = EmbeddingCache()
        return with_users_cache(backbone, self._cache)

    def backbone_of(self, prompt: Prompt) -> Backbone:
        """Return the backbone of a prompt, once it is loaded; call this in a worker.

        Raises
        ------
        PtsamError
            If the backbone is not on this machine.
        """
        load_torch()
        from napari_ptsam.prompts.backbone import backbone_of

        with suppress(PtsamError):  # a chosen backbone that cannot be loaded is not needed here
            chosen = self.backbone()
            if prompt.belongs_to(chosen.name, chosen.signature):
                return chosen
        with self._loading:
            return self._with_cache(backbone_of(prompt, device=self.device))

    def release(self, timeout: float = 0.0) -> None:
        """Remove one user; the last one ends the loading and clears the cache.

        Parameters
        ----------
        timeout
            Seconds to wait for the thread that is loading.
        """
        self.users -= 1
        if self.users > 0:
            return
        for key in [key for key, service in _services.items() if service is self]:
            del _services[key]
        self._jobs.close(timeout)
        if self._cache is not None:
            self._cache.clear()


def _recommend() -> Steps:
    load_torch()
    from napari_ptsam.backbones.devices import gpu_gigabytes

    yield recommended(gpu_gigabytes())


_services: dict[int, BackboneService] = {}
"""The service of each viewer, by the viewer's id."""


def shared_backbone_service(
    viewer: napari.Viewer, device: str = "auto", chosen: str = EMBEDDED_NAME
) -> BackboneService:
    """Return the service of a viewer; each user calls `BackboneService.release` once.

    Parameters
    ----------
    viewer
        The viewer.
    device, chosen
        See `BackboneService`; ignored if the viewer has a service already.
    """
    key = id(without_proxy(viewer))
    service = _services.get(key)
    if service is None:
        service = _services[key] = BackboneService(device, chosen)
    service.users += 1
    return service


def device_name(device: str) -> str:
    """Return the name of a device for the user; loads torch for ``cuda``."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    return {"cpu": "the CPU", "mps": "Apple's GPU"}.get(device, device)
