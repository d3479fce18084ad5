"""Few-shot specialisation of SAM by prompt tuning.

    import napari_ptsam as ptsam

    prompt = ptsam.train(images, masks)
    prompt.save("nuclei.pt")
    labels = ptsam.segment(stack, ptsam.load("nuclei.pt"))

Importing this loads neither torch nor Qt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_ptsam.errors import (
    CheckpointError,
    CollapsedError,
    DownloadError,
    InputError,
    OutputError,
    PromptFileError,
    PtsamError,
    SessionError,
)

if TYPE_CHECKING:
    from napari_ptsam.api import load, segment, train
    from napari_ptsam.images.normalize import Normalization
    from napari_ptsam.inference.linking import LinkSettings
    from napari_ptsam.inference.result import ResultSettings
    from napari_ptsam.prompts.prompt import Prompt

    __version__: str

__all__ = [
    "CheckpointError",
    "CollapsedError",
    "DownloadError",
    "InputError",
    "LinkSettings",
    "Normalization",
    "OutputError",
    "Prompt",
    "PromptFileError",
    "PtsamError",
    "ResultSettings",
    "SessionError",
    "load",
    "segment",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("napari-ptsam")
        except PackageNotFoundError:  # the sources are on the path, but nothing is installed
            return "0+unknown"
    if name in ("load", "segment", "train"):
        from napari_ptsam import api

        return getattr(api, name)
    if name == "Normalization":
        from napari_ptsam.images.normalize import Normalization

        return Normalization
    if name == "Prompt":
        from napari_ptsam.prompts.prompt import Prompt

        return Prompt
    if name == "LinkSettings":
        from napari_ptsam.inference.linking import LinkSettings

        return LinkSettings
    if name == "ResultSettings":
        from napari_ptsam.inference.result import ResultSettings

        return ResultSettings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
