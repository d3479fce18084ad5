"""What was learned, and all that is needed to use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_ptsam.backbones.catalogue import catalogue
from napari_ptsam.errors import InputError, PromptFileError, Remedy
from napari_ptsam.images.channels import Channels
from napari_ptsam.images.guided_filter import Refinement
from napari_ptsam.images.planes import PixelSize
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import FLIPS, Flip
from napari_ptsam.prompts.thumbnail import LIMIT

TOKENS, WIDTH = 8, 256
MOST_ENCODER_TOKENS = 64
"""Encoder tokens a layer; the method has 8."""
TEXT_LIMIT = 1000
"""Bytes (UTF-8) of notes, licence and author together: a prompt file is to stay a small file."""
NAME_LIMIT = 60
MAX_CLASSES = 250
"""Labels are uint8."""

# Okabe and Ito's palette, which colour-blind people can tell apart.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")


@dataclass(frozen=True)
class Origin:
    """How a prompt was made.

    Attributes
    ----------
    images, held_out_images
        Annotated planes in all, and how many of them were held out.
    steps, batch_size, seed
        Of the training.
    held_out_dice
        Mean foreground Dice over the held-out planes and classes; None if not measured.
    measured_on_training
        Whether that figure was measured on the training images themselves,
        because there were too few to hold any out.
    start
        What the tokens started from.
    date
        ISO 8601, UTC.
    versions
        Of the packages that made it.
    """

    images: int = 0
    held_out_images: int = 0
    steps: int = 0
    batch_size: int = 0
    seed: int = 0
    held_out_dice: float | None = None
    measured_on_training: bool = False
    start: str = ""
    date: str = ""
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Prompt:
    """A specialist: decoder tokens, encoder tokens if any, and all that is needed to use them.

    Attributes
    ----------
    tokens
        Learned decoder tokens, float32, shape (classes, 8, 256).
    classes
        A name for each class. In labels, class number i has the value i + 1.
    colours
        ``#RRGGBB`` for each class.
    backbone, signature
        Name of the backbone that the tokens belong to, and the fingerprint of
        its weights.
    weights
        Where these come from, for people: a name of the catalogue of backbones,
        such as ``vit_b_lm``, or the name of its maker's own file.
    flips
        Of tiles, that are looked at when segmenting, besides the tiles as they
        are; what is found is the mean. Takes as many times as long.
    thumbnail
        A picture of what it finds, see `napari_ptsam.prompts.thumbnail`; may be empty.
    images
        Normalisation, channels and tiles that they were tuned at.
    trained_channels
        Which channels the training images have, with the names of those that were shown; None if
        that is not known. `images` tells which were shown.
    pixel_size
        Of the training images, if known.
    origin
        How it was made.
    notes, licence, author
        Free text of its makers, up to 1,000 bytes together.
    cores
        Decoder tokens that find the inner parts of objects, by which objects
        that touch are told apart: float32, shape (classes, 8, 256); None if the
        prompt does not know them.
    encoder_tokens
        Learned encoder tokens: for each layer of the image encoder that takes
        some, float32 of shape (tokens, width of the layer); empty if it is used
        as it is.
    refinement
        How the classes' logits are made to follow the edges of the image; None
        leaves them as they are.

    Raises
    ------
    InputError
        If the parts do not fit together.
    """

    tokens: np.ndarray
    classes: tuple[str, ...]
    colours: tuple[str, ...]
    backbone: str
    signature: str
    images: ImageSettings
    pixel_size: PixelSize | None = None
    origin: Origin = field(default_factory=Origin)
    notes: str = ""
    licence: str = ""
    cores: np.ndarray | None = None
    encoder_tokens: tuple[np.ndarray, ...] = ()
    refinement: Refinement | None = None
    weights: str = ""
    author: str = ""
    thumbnail: bytes = b""
    flips: tuple[Flip, ...] = ()
    trained_channels: Channels | None = None

    def __post_init__(self) -> None:
        count = len(self.classes)
        if self.cores is not None and (
            self.cores.shape != (count, TOKENS, WIDTH) or self.cores.dtype != np.float32
        ):
            raise InputError(
                f"The tokens of the cores are float32 of shape ({count}, {TOKENS}, {WIDTH}), "
                f"not {self.cores.dtype} of shape {self.cores.shape}."
            )
        if self.tokens.shape != (count, TOKENS, WIDTH) or self.tokens.dtype != np.float32:
            raise InputError(
                f"Decoder tokens for {count} classes are float32 of shape ({count}, {TOKENS}, {WIDTH}), "
                f"not {self.tokens.dtype} of shape {self.tokens.shape}."
            )
        if not np.isfinite(self.all_tokens).all():
            raise InputError("The decoder tokens hold NaN or infinity; train the prompt again.")
        check_encoder_tokens(self.encoder_tokens)
        if count == 0 or len(self.colours) != count:
            raise InputError("A prompt needs a name and a colour for each class.")
        check_names(self.classes)
        check_text(self.notes, self.licence, self.author)
        if any(flip not in FLIPS for flip in self.flips) or len(set(self.flips)) < len(self.flips):
            raise InputError(f"Flips are {', '.join(FLIPS)}, each once, not {self.flips}.")
        if len(self.thumbnail) > LIMIT:
            raise InputError(f"A prompt's picture has {LIMIT:,} bytes at most.")
        if len(self.weights) > NAME_LIMIT or not (self.weights + "-").isprintable():
            raise InputError("The name of the backbone's weights is no short, printable text.")

    @property
    def all_tokens(self) -> np.ndarray:
        """Tokens of the classes, then those of their cores if there are any: (n, 8, 256)."""
        return self.tokens if self.cores is None else np.concatenate([self.tokens, self.cores])

    @property
    def trained_parameters(self) -> int:
        """Count of numbers that were trained: 2,048 a class, as many for its cores, encoder tokens."""
        return int(self.all_tokens.size) + sum(own.size for own in self.encoder_tokens)

    def with_text(
        self, notes: str | None = None, licence: str | None = None, author: str | None = None
    ) -> Prompt:
        """Copy with other notes, licence or author."""
        return replace(
            self,
            notes=self.notes if notes is None else notes,
            licence=self.licence if licence is None else licence,
            author=self.author if author is None else author,
        )

    def belongs_to(self, name: str, signature: str) -> bool:
        """Whether it was tuned for a backbone of that architecture and signature."""
        return (name, signature) == (self.backbone, self.signature)

    def check_backbone(self, name: str, signature: str) -> None:
        """Make sure that this prompt belongs to a backbone.

        Raises
        ------
        PromptFileError
            If it was tuned for another one.
        """
        if not self.belongs_to(name, signature):
            told = self.backbone_name
            own = told if self.signature in told else f"{told} (signature {self.signature})"
            raise PromptFileError(
                f"The prompt was tuned for the backbone {own}, and this is {name} (signature "
                f"{signature}).",
                self.remedy,
                backbone=self.weights,
            )

    @property
    def backbone_name(self) -> str:
        """The backbone in words: its name in the catalogue, or architecture, file and signature."""
        if self.weights in catalogue():
            return self.weights
        file = f" with the weights {self.weights}" if self.weights else ""
        return f"{self.backbone}{file} (signature {self.signature})"

    @property
    def remedy(self) -> Remedy:
        """What to do if the backbone is not on this machine."""
        entry = catalogue().get(self.weights)
        known = entry is not None and not entry.embedded
        return Remedy.DOWNLOAD if known else Remedy.CHECKPOINT

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the prompt file; see `napari_ptsam.prompts.files.save`."""
        from napari_ptsam.prompts.files import save

        return save(self, path, overwrite)

    def describe(self) -> dict[str, Any]:
        """Everything but the tokens, as plain values for people and machines."""
        from napari_ptsam.prompts.contents import to_plain

        return {
            **to_plain(self, with_tokens=False),
            "trained_parameters": self.trained_parameters,
        }


def check_encoder_tokens(tokens: Sequence[np.ndarray]) -> None:
    """Make sure that encoder tokens can be used.

    Raises
    ------
    InputError
        If they are not float32 of shape (tokens, width), as many in each layer, and finite.
    """
    for own in tokens:
        if own.ndim != 2 or own.dtype != np.float32 or len(own) != len(tokens[0]):
            raise InputError(
                "Encoder tokens are float32 of shape (tokens, width), as many in each layer, not "
                f"{own.dtype} of shape {own.shape}."
            )
        if not 1 <= len(own) <= MOST_ENCODER_TOKENS or not np.isfinite(own).all():
            raise InputError(
                f"A layer has 1 to {MOST_ENCODER_TOKENS} encoder tokens without NaN or infinity; "
                "train the prompt again."
            )


def check_names(names: Sequence[str]) -> None:
    """Make sure that classes have usable names.

    Raises
    ------
    InputError
        If a name is empty, too long, not printable, or there twice.
    """
    for name in names:
        if not name.strip() or len(name) > NAME_LIMIT or not name.isprintable():
            raise InputError(
                f"A class name has 1 to {NAME_LIMIT} printable characters; {name!r} does not."
            )
    if len(set(names)) != len(names):
        raise InputError("Two classes have the same name; give each a name of its own.")


def check_text(*texts: str) -> None:
    """Make sure that notes, licence and author fit into a prompt file.

    Raises
    ------
    InputError
        If they are too long, or no valid text.
    """
    try:
        length = len("".join(texts).encode())
    except UnicodeEncodeError as error:
        raise InputError("Notes, licence or author are no valid text; type them again.") from error
    if length > TEXT_LIMIT:
        raise InputError(
            f"Notes, licence and author have {length} bytes, at most {TEXT_LIMIT} fit; shorten them."
        )


def default_colours(count: int) -> tuple[str, ...]:
    """Colours for that many classes, easily told apart for the first eight."""
    return tuple(PALETTE[i % len(PALETTE)] for i in range(count))
