"""Backbones that are known by name: what each is good for, and where its weights come from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from napari_ptsam.errors import InputError

EMBEDDED_NAME = "vit_t"
PARAMETERS = {"vit_t": 10_130_092, "vit_b": 93_735_472, "vit_l": 312_342_832, "vit_h": 641_090_608}
"""Of each architecture; its checkpoint has four bytes for each."""


@dataclass(frozen=True)
class CatalogueEntry:
    """A backbone that is known by name.

    Attributes
    ----------
    name
        Such as ``vit_b_lm``.
    architecture
        ``vit_t``, ``vit_b``, ``vit_l`` or ``vit_h``.
    title, good_for, licence, source
        For people; the source is the address of a page.
    file
        Name of the checkpoint in the folder of backbones.
    url
        Where it is downloaded from; empty for the embedded one.
    size
        In bytes; 0 if its makers do not say.
    digest
        Kind of hash, a colon, and the hash in hexadecimal, as pooch has it.
    """

    name: str
    architecture: str
    title: str
    good_for: str
    licence: str
    source: str
    file: str
    url: str = ""
    size: int = 0
    digest: str = ""

    @property
    def embedded(self) -> bool:
        """Whether it comes with the package."""
        return not self.url

    @property
    def megabytes(self) -> str:
        """Its size, for people."""
        if self.embedded:
            return "20 MB"
        size = self.size or 4 * PARAMETERS[self.architecture]
        return f"{'' if self.size else 'about '}{size / 1e6:,.0f} MB"

    @property
    def limit(self) -> int:
        """Bytes that a download may have at most, so that it does not fill the disk."""
        return self.size or int(1.5 * 4 * PARAMETERS[self.architecture])


@lru_cache(maxsize=1)
def catalogue() -> dict[str, CatalogueEntry]:
    """All backbones that are known by name, by their names."""
    file = resources.files("napari_ptsam").joinpath("data/backbones.json")
    entries = (CatalogueEntry(**one) for one in json.loads(file.read_text(encoding="utf-8")))
    return {entry.name: entry for entry in entries}


def entry_of(name: str) -> CatalogueEntry:
    """The entry of that name.

    Raises
    ------
    InputError
        If there is none.
    """
    found = catalogue().get(name)
    if found is None:
        raise InputError(f"Unknown backbone {name!r}; choose one of {', '.join(catalogue())}.")
    return found


def name_and_checkpoint(chosen: str) -> tuple[str | None, str | None]:
    """What `load_backbone` is to be given for a name of the catalogue, or the path of a checkpoint."""
    return (chosen, None) if chosen in catalogue() else (None, chosen)


def recommended(gpu_gigabytes: float | None) -> str:
    """Name of the backbone to begin with.

    Parameters
    ----------
    gpu_gigabytes
        Memory of the GPU; None if there is none.
    """
    if gpu_gigabytes is None or gpu_gigabytes < 4:
        return "vit_t"
    return "vit_b" if gpu_gigabytes < 8 else "vit_l"
