"""The backbone, loaded late and in a thread; the embeddings that everything shares."""

from __future__ import annotations

from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_ptsam.backbones.catalogue import EMBEDDED_NAME, name_and_checkpoint, recommended
from napari_ptsam.errors import PtsamError
from napari_ptsam.widgets.shared.background_jobs import IDLE, BackgroundJobs, ignore
from napari_ptsam.widgets.shared.torch_loading import load_torch
from napari_ptsam.widgets.shared.worker import Steps

if TYPE_CHECKING:
    import napari

    from napari_ptsam.backbones.embedding_cache import EmbeddingCache
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.prompts.prompt import Prompt


class BackboneService(QObject):
    """Gives the backbone to workers; none of its methods but `backbone` and
    `backbone_of` waits for torch.

    The docks of a viewer share one (`shared_backbone_service`): the backbone is there
    once, and what one has embedded the other need not.

    Parameters
    ----------
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    chosen
        Name of the backbone in the catalogue, or path of the user's own checkpoint.
    """

    state_changed = Signal(str)
    advised = Signal()
    """`advice` is known now."""
    ready = Signal()

    def __init__(self, device: str = "auto", chosen: str = EMBEDDED_NAME) -> None:
        super().__init__()
        self._jobs = BackgroundJobs(self)
        self._loading = Lock()
        """Held for seconds while weights are loaded; only workers may take it."""
        self.users = 0
        self._choice = device, chosen
        self._there: tuple[tuple[str, str], Backbone] | None = None
        """The backbone, and the choice that it was loaded for."""
        self._cache: EmbeddingCache | None = None
        self.state = "The backbone is not loaded yet."
        self.advice = ""

    @property
    def device(self) -> str:
        """What was asked for."""
        return self._choice[0]

    @property
    def chosen(self) -> str:
        """Name of the backbone in the catalogue, or path of the user's own checkpoint."""
        return self._choice[1]

    def use(self, device: str, chosen: str | None = None) -> None:
        """Run on another device, or with another backbone, from now on."""
        choice = device, chosen or self.chosen
        if choice == self._choice:
            return
        # A worker that is loading the former one notices, and loads this one.
        self._choice, self._there = choice, None
        if self._cache is not None:
            self._cache.clear()
        self.load()

    def load(self) -> None:
        """Load the backbone in the background."""
        if self._there is None:
            self._say("Loading the backbone (the first time takes some seconds)…")
        self._jobs.submit("backbone", self._load, self._loaded, self._say, priority=IDLE)

    def advise(self) -> None:
        """Find out which backbone suits this machine."""
        if not self.advice:
            self._jobs.submit("advice", _advice, self._advised, ignore, priority=IDLE)

    def _advised(self, name: str) -> None:
        self.advice = name
        self.advised.emit()

    def _load(self) -> Any:
        backbone = self.backbone()
        yield f"Ready: {backbone.weights} on {device_name(str(backbone.device))}"

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
        with self._loading:
            load_torch()
            from napari_ptsam.backbones.loading import load_backbone

            # The choice may change at any moment; what is given is of the last one.
            while (there := self._there) is None or there[0] != self._choice:
                choice = self._choice
                device, chosen = choice
                try:
                    found = load_backbone(*name_and_checkpoint(chosen), device)
                except PtsamError:
                    if choice == self._choice:
                        raise
                else:
                    self._there = choice, self._with_cache(found)
            return there[1]

    def _with_cache(self, backbone: Backbone) -> Backbone:
        from napari_ptsam.backbones.embedding_cache import EmbeddingCache, with_users_cache

        if self._cache is None:
            self._cache = EmbeddingCache()
        return with_users_cache(backbone, self._cache)

    def backbone_of(self, prompt: Prompt) -> Backbone:
        """The backbone of a prompt; waits until it is loaded, so call this in a worker.

        Raises
        ------
        PtsamError
            If it is not on this machine.
        """
        load_torch()
        from napari_ptsam.prompts.backbone import backbone_of

        with suppress(PtsamError):  # another one was chosen, and cannot be had: it is not needed
            chosen = self.backbone()
            if prompt.belongs_to(chosen.name, chosen.signature):
                return chosen
        with self._loading:
            return self._with_cache(backbone_of(prompt, device=self.device))

    def release(self, wait: float = 0.0) -> None:
        """One user less; the last one ends what loads (waiting so many seconds), and all embeddings."""
        self.users -= 1
        if self.users > 0:
            return
        for key in [key for key, backbone_service in _shared.items() if backbone_service is self]:
            del _shared[key]
        self._jobs.close(wait)
        if self._cache is not None:
            self._cache.clear()


def _advice() -> Steps:
    load_torch()
    from napari_ptsam.backbones.devices import gpu_gigabytes

    yield recommended(gpu_gigabytes())


_shared: dict[int, BackboneService] = {}
"""By viewer."""


def shared_backbone_service(
    viewer: napari.Viewer, device: str = "auto", chosen: str = EMBEDDED_NAME
) -> BackboneService:
    """The backbone_service of a viewer; every user calls `BackboneService.release` once.

    Parameters
    ----------
    viewer
        napari's.
    device, chosen
        For the first user; others find the backbone_service as it is.
    """
    key = id(getattr(viewer, "__wrapped__", viewer))  # plugins may get a proxy
    backbone_service = _shared.get(key)
    if backbone_service is None:
        backbone_service = _shared[key] = BackboneService(device, chosen)
    backbone_service.users += 1
    return backbone_service


def device_name(device: str) -> str:
    """A device in words; loads torch for all but the CPU."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    return {"cpu": "the CPU", "mps": "Apple's GPU"}.get(device, device)
