"""A prompt as plain values, and back; each value is checked before anything is made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.channels import Channels, Kind
from napari_ptsam.images.guided_filter import Refinement
from napari_ptsam.images.normalize import Mode, Normalization
from napari_ptsam.images.planes import PixelSize
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Flip, Tiling
from napari_ptsam.io.validation import (
    as_colour,
    as_flag,
    as_integer,
    as_list,
    as_mapping,
    as_number,
    as_text,
    python_values,
)
from napari_ptsam.prompts.prompt import (
    MAX_CLASSES,
    MOST_ENCODER_TOKENS,
    TOKENS,
    WIDTH,
    Origin,
    Prompt,
)
from napari_ptsam.prompts.thumbnail import LIMIT, LIMIT_WITH_TEXT

if TYPE_CHECKING:
    import torch

KIND = "napari-ptsam prompt"
VERSION = 2
MOST_LAYERS, WIDEST_LAYER = 64, 2048
"""Of an image encoder; SAM's largest one has 32 layers of width 1,280."""


def to_plain(prompt: Prompt, with_tokens: bool = True) -> dict[str, Any]:
    """The prompt as a dict of numbers, strings, lists and dicts (tokens as a numpy array)."""
    images = prompt.images
    plain: dict[str, Any] = {
        "kind": KIND,
        "version": VERSION,
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
    plain = python_values(plain)
    if with_tokens:
        plain["tokens"] = prompt.tokens
        if prompt.cores is not None:
            plain["cores"] = prompt.cores
        if prompt.encoder_tokens:
            plain["encoder_tokens"] = list(prompt.encoder_tokens)
        texts = (prompt.notes + prompt.licence + prompt.author).encode()
        room = LIMIT_WITH_TEXT - len(texts) - _size(plain.get("trained_channels"))
        if 0 < len(prompt.thumbnail) <= room:
            plain["thumbnail"] = np.frombuffer(prompt.thumbnail, np.uint8)
    return plain


def _size(channels: Any) -> int:
    """Bytes that what is known of the channels takes in a file, about."""
    return 0 if channels is None else 100 + len(json.dumps(channels))


def from_plain(plain: Mapping[str, Any]) -> Prompt:
    """The prompt that `to_plain` took apart; checks every value's type.

    Raises
    ------
    InputError, KeyError, TypeError, ValueError
        If something is missing or makes no sense.
    """
    channels = plain["channels"]
    size = plain["pixel_size"]
    return Prompt(
        tokens=_tokens(plain["tokens"]),
        classes=tuple(as_text(name) for name in as_list(plain["classes"])),
        colours=tuple(as_colour(colour) for colour in as_list(plain["colours"])),
        backbone=as_text(plain["backbone"]),
        signature=as_text(plain["signature"]),
        images=ImageSettings(
            tiling=_tiling(as_mapping(plain["tile"])),
            normalization=_normalization(as_mapping(plain["normalization"])),
            channels=None if channels is None else tuple(as_integer(c) for c in as_list(channels)),
        ),
        pixel_size=None if size is None else PixelSize.from_values(size),
        origin=_origin(as_mapping(plain["origin"])),
        notes=as_text(plain["notes"]),
        licence=as_text(plain["licence"]),
        # Files of version 1 have no encoder tokens and no refinement, and may have no cores.
        cores=None if plain.get("cores") is None else _tokens(plain["cores"]),
        encoder_tokens=_encoder_tokens(plain.get("encoder_tokens")),
        refinement=_refinement(plain.get("refinement")),
        weights=as_text(plain.get("weights", "")),
        author=as_text(plain.get("author", "")),
        thumbnail=_thumbnail(plain.get("thumbnail")),
        flips=tuple(cast(Flip, as_text(flip)) for flip in as_list(plain.get("flips", []))),
        trained_channels=_channels(plain.get("trained_channels"), channels),
    )


def _tokens(value: Any) -> np.ndarray:
    _check_tensor(value, "decoder tokens")
    # Before anything is copied: a hostile file can claim any shape.
    if value.ndim != 3 or value.shape[0] > MAX_CLASSES or value.shape[1:] != (TOKENS, WIDTH):
        raise InputError(f"the decoder tokens are of shape {tuple(value.shape)}")
    return _as_array(value)


def _encoder_tokens(value: Any) -> tuple[np.ndarray, ...]:
    """Encoder tokens; files without any may lack them altogether."""
    if value is None:
        return ()
    tokens = as_list(value)
    if len(tokens) > MOST_LAYERS:
        raise InputError("the encoder tokens are of too many layers")
    for own in tokens:
        _check_tensor(own, "encoder tokens")
        if own.ndim != 2 or own.shape[0] > MOST_ENCODER_TOKENS or own.shape[1] > WIDEST_LAYER:
            raise InputError(f"the encoder tokens are of shape {tuple(own.shape)}")
    return tuple(_as_array(own) for own in tokens)


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


def _normalization(value: Mapping[str, Any]) -> Normalization:
    mode = cast(Mode, as_text(value["mode"]))
    return Normalization(mode, as_number(value["low"]), as_number(value["high"]))


def _tiling(value: Mapping[str, Any]) -> Tiling:
    return Tiling(as_integer(value["side"]), as_flag(value["whole"]), as_number(value["overlap"]))


def _channels(value: Any, shown: list[int] | None) -> Channels | None:
    """What the prompt was trained on, of which these channels were shown."""
    if value is None:
        return None
    value = as_mapping(value)
    names = tuple(as_text(name) for name in as_list(value["names"]))
    trained = Channels(cast(Kind, as_text(value["kind"])), as_integer(value["count"]), names)
    trained.shown(shown)  # all of them have to be there
    return trained


def _refinement(value: Any) -> Refinement | None:
    if value is None:
        return None
    value = as_mapping(value)
    return Refinement(
        as_integer(value["radius"]), as_number(value["epsilon"]), as_number(value["threshold"])
    )


def _origin(value: Mapping[str, Any]) -> Origin:
    dice = value["held_out_dice"]
    return Origin(
        images=as_integer(value["images"]),
        held_out_images=as_integer(value["held_out_images"]),
        steps=as_integer(value["steps"]),
        batch_size=as_integer(value["batch_size"]),
        seed=as_integer(value["seed"]),
        held_out_dice=None if dice is None else as_number(dice),
        measured_on_training=as_flag(value["measured_on_training"]),
        start=as_text(value["start"]),
        date=as_text(value["date"]),
        versions={k: as_text(v) for k, v in as_mapping(value["versions"]).items()},
    )
