"""Trained prompts and their properties."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_ptsam.backbones.catalogue import catalogue
from napari_ptsam.errors import InputError, Message, PromptFileError, Remedy, Term
from napari_ptsam.images.channels import Channels
from napari_ptsam.images.guided_filter import Refinement
from napari_ptsam.images.planes import PixelSize
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import FLIPS, Flip
from napari_ptsam.io.former_names import accept_former_names
from napari_ptsam.prompts.detail import DetailHead
from napari_ptsam.prompts.thumbnail import LIMIT

TOKENS, WIDTH = 8, 256
MOST_ENCODER_TOKENS = 64
"""Largest number of encoder tokens in each layer; the published method has 8."""
TEXT_LIMIT = 1000
"""Largest size of notes, licence and author together in bytes (UTF-8)."""
NAME_LIMIT = 60
MAX_CLASSES = 250
"""Largest number of classes, since labels are uint8."""

# The palette of Okabe and Ito (2008), which colour-blind people can distinguish.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")


@dataclass(frozen=True)
class Origin:
    """How a prompt was made.

    Attributes
    ----------
    images, held_out_images
        Number of annotated planes, and how many of them were held out.
    steps, batch_size, seed
        Settings of the training.
    held_out_dice
        Mean foreground Dice over the held-out planes and classes; None if not measured. These
        planes also chose the checkpoint, so this is a validation Dice.
    measured_on_training
        Whether the Dice was measured on the training planes, because there were too few to
        hold any out.
    start
        The start values of the tokens.
    date
        Date in ISO 8601, UTC.
    versions
        Versions of the packages that were used.
    dice_error
        Standard error of the Dice over the held-out planes; None if there are fewer than 2.
    cross_validated
        Whether the Dice is that of all annotated planes, each predicted by tokens that have
        not seen it.
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
    dice_error: float | None = None
    cross_validated: bool = False


@accept_former_names({"cores": "markers"})
@dataclass(frozen=True, eq=False)
class Prompt:
    """A trained prompt: tokens, and all that is needed to use them.

    Attributes
    ----------
    tokens
        Learned decoder tokens, float32, shape (classes, 8, 256).
    classes
        A name for each class. In labels, class i has the value i + 1.
    colours
        ``#RRGGBB`` for each class.
    backbone, signature
        Name of the backbone that the tokens belong to, and the fingerprint of
        its weights.
    weights
        Name of the weights: in the catalogue of backbones, such as ``vit_b_lm``,
        or of the file.
    flips
        Flips of each tile that are segmented too when flips are on; results are
        averaged.
    thumbnail
        A picture of what it finds, see `napari_ptsam.prompts.thumbnail`; may be empty.
    images
        Normalization, channels and tiles used in the training.
    trained_channels
        The channels of the training images, with the names of those that the model has
        seen (`images` has their numbers); None if unknown.
    pixel_size
        Pixel size of the training images; None if unknown.
    origin
        How the prompt was made.
    notes, licence, author
        Free text, up to 1,000 bytes together.
    markers
        Decoder tokens that find the markers of objects, their inner parts, which separates objects
        that touch: float32, shape (classes, 8, 256); None if there are none.
    encoder_tokens
        Learned encoder tokens: an array for each layer of the image encoder that takes
        tokens, float32, shape (tokens, width of the layer); empty if there are none.
    detail
        The detail head of each class, or None for a class without one; empty if no
        class has one.
    refinement
        A guided filter of the logits, which lets them follow the edges of the image;
        None if there is none.

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
    markers: np.ndarray | None = None
    encoder_tokens: tuple[np.ndarray, ...] = ()
    refinement: Refinement | None = None
    weights: str = ""
    author: str = ""
    thumbnail: bytes = b""
    flips: tuple[Flip, ...] = ()
    trained_channels: Channels | None = None
    detail: tuple[DetailHead | None, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.classes)
        if self.markers is not None and (
            self.markers.shape != (count, TOKENS, WIDTH) or self.markers.dtype != np.float32
        ):
            raise InputError(
                f"The tokens of the markers are float32 of shape ({count}, {TOKENS}, {WIDTH}), "
                f"not {self.markers.dtype} of shape {self.markers.shape}."
            )
        if self.tokens.shape != (count, TOKENS, WIDTH) or self.tokens.dtype != np.float32:
            raise InputError(
                f"Decoder tokens for {count} classes are float32 of shape ({count}, {TOKENS}, {WIDTH}), "
                f"not {self.tokens.dtype} of shape {self.tokens.shape}."
            )
        if not np.isfinite(self.all_tokens).all():
            raise InputError("The decoder tokens hold NaN or infinity; train the prompt again.")
        check_encoder_tokens(self.encoder_tokens)
        if self.detail and (len(self.detail) != count or not any(self.detail)):
            raise InputError(
                "A prompt has a detail head, or None, for each class; without any head it has none."
            )
        if count == 0 or len(self.colours) != count:
            raise InputError("A prompt needs a name and a colour for each class.")
        check_names(self.classes)
        check_text(self.notes, self.licence, self.author)
        if any(flip not in FLIPS for flip in self.flips) or len(set(self.flips)) < len(self.flips):
            raise InputError(f"Flips are {', '.join(FLIPS)}, each once, not {self.flips}.")
        if len(self.thumbnail) > LIMIT:
            raise InputError(f"A prompt's picture has {LIMIT:,} bytes at most.")
        if len(self.weights) > NAME_LIMIT or not (self.weights + "-").isprintable():
            raise InputError("The name of a prompt's weights is no short, printable text.")

    @property
    def all_tokens(self) -> np.ndarray:
        """Tokens of the classes, followed by those of their markers if there are any: (n, 8, 256)."""
        return self.tokens if self.markers is None else np.concatenate([self.tokens, self.markers])

    @property
    def trained_parameters(self) -> int:
        """Number of trained parameters: tokens, encoder tokens and detail heads.

        The tokens of a class are 2,048, and those of its markers too.
        """
        heads = [head.parameters for head in self.detail if head is not None]
        return int(self.all_tokens.size) + sum(
            values.size for values in (*self.encoder_tokens, *heads)
        )

    def with_text(
        self, notes: str | None = None, licence: str | None = None, author: str | None = None
    ) -> Prompt:
        """Return a copy with other notes, licence or author."""
        return replace(
            self,
            notes=self.notes if notes is None else notes,
            licence=self.licence if licence is None else licence,
            author=self.author if author is None else author,
        )

    def belongs_to(self, name: str, signature: str) -> bool:
        """Return whether it was trained for the backbone of that architecture and signature."""
        return (name, signature) == (self.backbone, self.signature)

    def check_backbone(self, name: str, signature: str) -> None:
        """Make sure that this prompt belongs to a backbone.

        Raises
        ------
        PromptFileError
            If it was trained for another one.
        """
        if not self.belongs_to(name, signature):
            trained = self.backbone_name
            if self.signature not in trained:
                trained += f" (signature {self.signature})"
            raise PromptFileError(
                Message(
                    "The prompt was tuned for the ", Term.BACKBONE,
                    f" {trained}, and this is {name} (signature {signature}).",
                ),
                self.remedy,
                backbone=self.weights,
            )  # fmt: skip

    @property
    def backbone_name(self) -> str:
        """Name of the backbone in the catalogue, or its architecture, file and signature."""
        if self.weights in catalogue():
            return self.weights
        file = f" with the weights {self.weights}" if self.weights else ""
        return f"{self.backbone}{file} (signature {self.signature})"

    @property
    def remedy(self) -> Remedy:
        """The remedy if the backbone is not on this machine."""
        entry = catalogue().get(self.weights)
        known = entry is not None and not entry.embedded
        return Remedy.DOWNLOAD if known else Remedy.CHECKPOINT

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the prompt file; see `napari_ptsam.prompts.files.save`."""
        from napari_ptsam.prompts.files import save

        return save(self, path, overwrite)

    def describe(self) -> dict[str, Any]:
        """Return all but the tokens as plain values."""
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
        If they are not finite float32 values of shape (tokens, width), as many in each layer.
    """
    for layer in tokens:
        if layer.ndim != 2 or layer.dtype != np.float32 or len(layer) != len(tokens[0]):
            raise InputError(
                "Encoder tokens are float32 of shape (tokens, width), as many in each layer, not "
                f"{layer.dtype} of shape {layer.shape}."
            )
        if not 1 <= len(layer) <= MOST_ENCODER_TOKENS or not np.isfinite(layer).all():
            raise InputError(
                f"A layer has 1 to {MOST_ENCODER_TOKENS} encoder tokens without NaN or infinity; "
                "train the prompt again."
            )


def check_names(names: Sequence[str]) -> None:
    """Make sure that classes have usable names.

    Raises
    ------
    InputError
        If a name is empty, too long, not printable, or occurs twice.
    """
    for name in names:
        if not name.strip() or len(name) > NAME_LIMIT or not name.isprintable():
            raise InputError(
                f"A class name has 1 to {NAME_LIMIT} printable characters; {name!r} does not."
            )
    if len(set(names)) != len(names):
        raise InputError("Two classes have the same name; give each a name of its own.")


def check_colours(colours: Sequence[str]) -> None:
    """Make sure that colours are of the form ``#RRGGBB``.

    Raises
    ------
    InputError
        If a colour is not.
    """
    for colour in colours:
        if not isinstance(colour, str) or not re.fullmatch(r"#[0-9A-Fa-f]{6}", colour):
            raise InputError(f"The colour {colour!r} is not of the form #RRGGBB; choose another.")


def check_text(*texts: str) -> None:
    """Make sure that notes, licence and author fit into a prompt file.

    Raises
    ------
    InputError
        If they are too long, or not valid Unicode.
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
    """Return a colour for each class; the first eight are easy to distinguish."""
    return tuple(PALETTE[i % len(PALETTE)] for i in range(count))
