"""Conversion of prompts to and from the plain values that a prompt file holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.channels import Channels
from napari_ptsam.images.guided_filter import Refinement
from napari_ptsam.images.normalize import Normalization
from napari_ptsam.images.planes import PixelSize
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Flip, Tiling
from napari_ptsam.io.validation import python_values, read_values
from napari_ptsam.prompts.detail import MOST_WIDTH, DetailHead, parameter_count
from napari_ptsam.prompts.prompt import (
    MAX_CLASSES,
    MOST_ENCODER_TOKENS,
    TOKENS,
    WIDTH,
    Origin,
    Prompt,
    check_colours,
)
from napari_ptsam.prompts.thumbnail import LIMIT, LIMIT_WITH_TEXT

if TYPE_CHECKING:
    import torch

KIND = "napari-ptsam prompt"
VERSION = 3
"""Newest version of the format: prompts with detail heads, which older readers have to decline."""
WITHOUT_DETAIL = 2
"""Version of prompts without detail heads, so that version 0.1.0 reads them."""
MOST_LAYERS, WIDEST_LAYER = 64, 2048
"""Limits of an image encoder; the largest SAM has 32 layers of width 1,280."""
LARGEST = 2**20
"""Values and characters of a prompt file without its arrays."""


def to_plain(prompt: Prompt, with_tokens: bool = True) -> dict[str, Any]:
    """Return a prompt as a dict of numbers, strings, lists and dicts.

    Parameters
    ----------
    prompt
        The prompt.
    with_tokens
        Whether to include tokens and picture, as numpy arrays.
    """
    images = prompt.images
    plain: dict[str, Any] = {
        "kind": KIND,
        "version": VERSION if prompt.detail else WITHOUT_DETAIL,
        "classes": prompt.classes,
        "colours": prompt.colours,
        "backbone": prompt.backbone,
        "signature": prompt.signature,
        "weights": prompt.weights,
        "tile": asdict(images.tiling),
        "normalization": asdict(images.normalization),
        "channels": images.channels,
        "pixel_size": None if prompt.pixel_size is None else asdict(prompt.pixel_size),
        "origin": asdict(prompt.origin),
        "refinement": None if prompt.refinement is None else asdict(prompt.refinement),
        "notes": prompt.notes,
        "licence": prompt.licence,
        "author": prompt.author,
        "flips": prompt.flips,
    }
    if prompt.trained_channels is not None:
        plain["trained_channels"] = asdict(prompt.trained_channels)
    if prompt.detail:
        plain["detail"] = [
            None if head is None else {"width": head.width, "share": head.share}
            for head in prompt.detail
        ]
    plain = python_values(plain)
    if with_tokens:
        plain["tokens"] = _stored(prompt.tokens, bool(prompt.detail))
        if prompt.markers is not None:
            markers = _stored(prompt.markers, bool(prompt.detail))
            plain["cores"] = markers  # the name of the key since version 0.1.0
        if prompt.encoder_tokens:
            plain["encoder_tokens"] = list(prompt.encoder_tokens)
        for head, values in zip(prompt.detail, plain.get("detail", ()), strict=True):
            if head is not None:
                values["parameters"] = head.parameters
        texts = (prompt.notes + prompt.licence + prompt.author).encode()
        room = LIMIT_WITH_TEXT - len(texts) - _size(plain.get("trained_channels"))
        if 0 < len(prompt.thumbnail) <= room:
            plain["thumbnail"] = np.frombuffer(prompt.thumbnail, np.uint8)
    return plain


def _stored(tokens: np.ndarray, with_detail: bool) -> np.ndarray:
    """Return tokens as a file holds them: in float16, if its readers accept it and no bit is lost."""
    halves = tokens.astype(np.float16)
    return halves if with_detail and np.array_equal(halves, tokens) else tokens


def _size(channels: Any) -> int:
    """Return about how many bytes the description of the channels takes in a file."""
    return 0 if channels is None else 100 + len(json.dumps(channels))


@dataclass(frozen=True)
class _Description:
    """All of a prompt file but its arrays: texts and numbers under the keys of the file."""

    classes: tuple[str, ...]
    colours: tuple[str, ...]
    backbone: str
    signature: str
    tile: Tiling
    normalization: Normalization
    channels: tuple[int, ...] | None
    pixel_size: PixelSize | None
    origin: Origin
    notes: str
    licence: str
    weights: str = ""
    author: str = ""
    refinement: Refinement | None = None
    flips: tuple[Flip, ...] = ()
    trained_channels: Channels | None = None

    def __post_init__(self) -> None:
        check_colours(self.colours)
        if self.trained_channels is not None:
            self.trained_channels.shown(self.channels)  # all of them have to be there


NEWER = (
    "weights", "author", "refinement", "flips", "trained_channels", "dice_error", "cross_validated",
)  # fmt: skip
"""Keys that earlier files do not have."""
ARRAYS = ("tokens", "cores", "encoder_tokens", "detail", "thumbnail")


def from_plain(plain: Mapping[str, Any]) -> Prompt:
    """Return the prompt that `to_plain` turned into plain values.

    Parameters
    ----------
    plain
        Values of a file, which anybody may have made; arrays are torch tensors.

    Raises
    ------
    InputError, KeyError
        If something is missing, has another type, or cannot be used.
    """
    values = {key: value for key, value in plain.items() if key not in ARRAYS}
    description = read_values(_Description, values, optional=NEWER, limit=LARGEST)
    return Prompt(
        tokens=_tokens(plain["tokens"]),
        markers=None if plain.get("cores") is None else _tokens(plain["cores"]),
        encoder_tokens=_encoder_tokens(plain.get("encoder_tokens")),
        detail=_detail(plain.get("detail")),
        thumbnail=_thumbnail(plain.get("thumbnail")),
        images=ImageSettings(description.tile, description.normalization, description.channels),
        classes=description.classes,
        colours=description.colours,
        backbone=description.backbone,
        signature=description.signature,
        pixel_size=description.pixel_size,
        origin=description.origin,
        notes=description.notes,
        licence=description.licence,
        weights=description.weights,
        author=description.author,
        refinement=description.refinement,
        flips=description.flips,
        trained_channels=description.trained_channels,
    )


def _tokens(value: Any) -> np.ndarray:
    import torch

    halves = isinstance(value, torch.Tensor) and value.dtype == torch.float16
    _check_tensor(value, "decoder tokens", torch.float16 if halves else None)
    # Checked before anything is copied, since a hostile file can claim any shape.
    if value.ndim != 3 or value.shape[0] > MAX_CLASSES or value.shape[1:] != (TOKENS, WIDTH):
        raise InputError(f"the decoder tokens are of shape {tuple(value.shape)}")
    return _as_array(value).astype(np.float32)


def _encoder_tokens(value: Any) -> tuple[np.ndarray, ...]:
    """Return encoder tokens; files without any may lack the key."""
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MOST_LAYERS:
        raise InputError(f"the encoder tokens are no list of up to {MOST_LAYERS} layers")
    for layer in value:
        _check_tensor(layer, "encoder tokens")
        if layer.ndim != 2 or layer.shape[0] > MOST_ENCODER_TOKENS or layer.shape[1] > WIDEST_LAYER:
            raise InputError(f"the encoder tokens are of shape {tuple(layer.shape)}")
    return tuple(_as_array(layer) for layer in value)


def _detail(value: Any) -> tuple[DetailHead | None, ...]:
    """Return the detail head of each class; files without any may lack the key."""
    if value is None:
        return ()
    if not isinstance(value, list) or not 0 < len(value) <= MAX_CLASSES:
        raise InputError(f"the detail heads are no list of up to {MAX_CLASSES} classes")
    return tuple(None if head is None else _detail_head(head) for head in value)


def _detail_head(head: Any) -> DetailHead:
    import torch

    if not isinstance(head, dict):
        raise InputError("a detail head is no dict")
    width, share, parameters = head["width"], head["share"], head["parameters"]
    if type(width) is not int or not 1 <= width <= MOST_WIDTH:
        raise InputError(f"a detail head does not have 1 to {MOST_WIDTH} channels")
    if type(share) not in (int, float):
        raise InputError("the share of a detail head is no number")
    _check_tensor(parameters, "parameters of a detail head", torch.float16)
    if tuple(parameters.shape) != (parameter_count(width),):
        raise InputError(f"the parameters of a detail head are of shape {tuple(parameters.shape)}")
    return DetailHead(_as_array(parameters), width, float(share))


def _thumbnail(value: Any) -> bytes:
    import torch

    if value is None:
        return b""
    _check_tensor(value, "picture's bytes", torch.uint8)
    if value.ndim != 1 or len(value) > LIMIT:
        raise InputError("the picture is too large")
    return _as_array(value).tobytes()


def _check_tensor(value: Any, what: str, dtype: torch.dtype | None = None) -> None:
    import torch

    dtype = dtype or torch.float32
    if not isinstance(value, torch.Tensor) or value.dtype != dtype:
        raise InputError(f"the {what} are no {str(dtype).removeprefix('torch.')} tensor")
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_neg():
        raise InputError(f"the {what} are no plain tensor")


def _as_array(value: Any) -> np.ndarray:
    array: np.ndarray = value.detach().contiguous().numpy()
    return array
