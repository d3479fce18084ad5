"""The catalogue of backbones: their names, uses, licences and downloads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from napari_ptsam.backbones.families.registry import architectures
from napari_ptsam.errors import InputError, Message, Term

EMBEDDED_NAME = "vit_t"


@dataclass(frozen=True)
class CatalogueEntry:
    """A backbone in the catalogue.

    Attributes
    ----------
    name
        The backbone's name, such as ``vit_b_lm``.
    architecture
        An architecture of one of the families, such as ``vit_b``.
    title, good_for, licence, source
        Texts for users; the source is the address of a web page.
    file
        Name of the checkpoint in the folder of backbones.
    url
        Address that the checkpoint is downloaded from; empty for the embedded one.
    size
        Size of the checkpoint in bytes; 0 if it is not published.
    digest
        Name of a hash function, a colon, and the hash in hexadecimal, as in pooch.
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
        """Whether the weights ship inside the package."""
        return not self.url

    @property
    def megabytes(self) -> str:
        """Size of the checkpoint in words, such as ``375 MB``."""
        if self.embedded:
            return "20 MB"
        return f"{'' if self.size else 'about '}{(self.size or self._float32_size) / 1e6:,.0f} MB"

    @property
    def limit(self) -> int:
        """Largest size in bytes that a download may have, so that it cannot fill the disk."""
        return self.size or int(1.5 * self._float32_size)

    @property
    def _float32_size(self) -> int:
        return 4 * architectures()[self.architecture]


@lru_cache(maxsize=1)
def catalogue() -> dict[str, CatalogueEntry]:
    """Return the entries of the catalogue by their names."""
    file = resources.files("napari_ptsam").joinpath("data/backbones.json")
    entries = (CatalogueEntry(**fields) for fields in json.loads(file.read_text(encoding="utf-8")))
    return {entry.name: entry for entry in entries}


def entry_of(name: str) -> CatalogueEntry:
    """Return the catalogue entry with a name.

    Raises
    ------
    InputError
        If the catalogue has no such entry.
    """
    entry = catalogue().get(name)
    if entry is None:
        known = f" {name!r}; choose one of {', '.join(catalogue())}."
        raise InputError(Message("Unknown ", Term.BACKBONE, known))
    return entry


def backbone_names() -> tuple[str, ...]:
    """Return the names of the catalogue, and the architectures that it has no entry for.

    The latter need the user's own checkpoint.
    """
    return tuple(dict.fromkeys((*catalogue(), *architectures())))


def architecture_named(name: str) -> str:
    """Return the architecture of a catalogue entry, or of a name that is an architecture itself.

    Raises
    ------
    InputError
        If the name is neither.
    """
    return name if name in architectures() else entry_of(name).architecture


def name_and_checkpoint(chosen: str) -> tuple[str | None, str | None]:
    """Return the arguments of `load_backbone` for a catalogue name or the path of a checkpoint."""
    return (chosen, None) if chosen in catalogue() else (None, chosen)


def recommended(gpu_gigabytes: float | None) -> str:
    """Return the name of the backbone to start with.

    Parameters
    ----------
    gpu_gigabytes
        Memory of the GPU; None without a GPU.
    """
    if gpu_gigabytes is None or gpu_gigabytes < 4:
        return "vit_t"
    return "vit_b" if gpu_gigabytes < 8 else "vit_l"
