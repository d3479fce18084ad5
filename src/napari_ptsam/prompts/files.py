"""Prompts on disk: one plain dict, read without running anything that is in it.

The layout is documented in docs/prompt-file.md.
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_ptsam.errors import InputError, PromptFileError
from napari_ptsam.images.flips import Flip
from napari_ptsam.images.normalize import Normalization
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.plain import (
    as_colour,
    as_flag,
    as_integer,
    as_list,
    as_number,
    as_pixel_size,
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
from napari_ptsam.prompts.refinement import Refinement
from napari_ptsam.prompts.seal import is_sealed, seal
from napari_ptsam.prompts.thumbnail import LIMIT, LIMIT_WITH_TEXT
from napari_ptsam.writing import replacing

if TYPE_CHECKING:
    import torch

KIND = "napari-ptsam prompt"
VERSION = 2
ARRAYS = ("tokens", "cores", "thumbnail")
MOST_LAYERS, WIDEST_LAYER = 64, 2048
"""Of an image encoder; SAM's largest one has 32 layers of width 1,280."""
SIZE_LIMIT = 16 * 2**20
"""No prompt is larger, encoder tokens included; what is larger is not even read."""


def save(prompt: Prompt, path: str | Path, overwrite: bool = False) -> Path:
    """Write a prompt file.

    Parameters
    ----------
    prompt
        What to write.
    path
        Where to; the custom ending is ``.pt``.
    overwrite
        Whether a file that is there already may be replaced.

    Returns
    -------
    pathlib.Path
        Where it was written.

    Raises
    ------
    OutputError
        If the file exists, or cannot be written.
    InputError
        If the prompt holds values that make no sense.
    """
    import torch

    plain = to_plain(prompt) | {"sealed": True}
    for name in ARRAYS:
        if name in plain:
            plain[name] = torch.from_numpy(plain[name].copy())
    if "encoder_tokens" in plain:
        plain["encoder_tokens"] = [torch.from_numpy(t.copy()) for t in plain["encoder_tokens"]]
    from_plain(plain)  # what could not be read again is not written
    # Into memory first, so that the file's inner name does not depend on its path.
    data = io.BytesIO()
    torch.save(plain, data)
    with replacing(path, overwrite) as beside:
        beside.write_bytes(seal(data.getvalue()))
    return Path(path)


def load(path: str | Path) -> Prompt:
    """Read a prompt file.

    Parameters
    ----------
    path
        A file that `save` wrote.

    Returns
    -------
    Prompt

    Raises
    ------
    PromptFileError
        If the file is missing, truncated, damaged, of another kind, from a
        newer version, or holds code (which is not run).
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise PromptFileError(f"There is no prompt file at {path}; check the path.")
        if path.stat().st_size > SIZE_LIMIT:
            raise PromptFileError(f"{path} is no prompt file: it is much too large for one.")
        data = path.read_bytes()
    except OSError as error:
        raise PromptFileError(f"{path} cannot be read; check its permissions.") from error
    plain = _read_plain(data, path)
    if not isinstance(plain, dict) or plain.get("kind") != KIND:
        raise PromptFileError(
            f"{path} is a PyTorch file of another kind, not a prompt; choose a file that napari-ptsam saved."
        )
    version = plain.get("version")
    if type(version) is not int or version < 1:
        raise PromptFileError(f"{path} names no valid version; ask its maker for a new copy.")
    if version > VERSION:
        raise PromptFileError(
            f"{path} was made by a newer napari-ptsam (format {version}, this one reads up to {VERSION}); "
            "update napari-ptsam."
        )
    # Files of before the seal do not promise one.
    if plain.get("sealed") is not None and not is_sealed(data):
        raise PromptFileError(
            f"{path} is damaged: its checksum is another; copy it again, or ask its maker for a new copy."
        )
    try:
        return from_plain(plain)
    except _UNREADABLE as error:
        reason = (
            str(error) if isinstance(error, InputError) else "a part is missing or of a wrong kind"
        )
        raise PromptFileError(
            f"{path} is a damaged prompt file ({reason.rstrip('.')}); ask its maker for a new copy."
        ) from error


def _read_plain(data: bytes, path: Path) -> Any:
    import torch

    if not data.startswith(b"PK\x03\x04"):
        what = "is empty" if not data else "is no prompt file"
        raise PromptFileError(f"{path} {what}; choose a file that napari-ptsam saved.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # A prompt is stored uncompressed: what unpacks to more is no prompt.
            if sum(part.file_size for part in archive.infolist()) > SIZE_LIMIT:
                raise PromptFileError(f"{path} is no prompt file: it would unpack to a huge size.")
            if archive.testzip() is not None:
                raise zipfile.BadZipFile("checksum")
        with warnings.catch_warnings():  # about pickles that are declined anyway
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except PromptFileError:
        raise
    except pickle.UnpicklingError as error:
        raise PromptFileError(
            f"{path} holds something other than plain values, maybe code; it was not run. "
            "Choose a file that napari-ptsam saved."
        ) from error
    except _UNREADABLE as error:
        raise PromptFileError(
            f"{path} is truncated or damaged; copy it again, or ask its maker for a new copy."
        ) from error


# What zipfile and torch.load raise on damaged archives.
_UNREADABLE = (
    zipfile.BadZipFile, RuntimeError, OSError, EOFError, LookupError, TypeError, ValueError,
    AttributeError, OverflowError, NotImplementedError, MemoryError, AssertionError,
)  # fmt: skip


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
    plain = python_values(plain)
    if with_tokens:
        plain["tokens"] = prompt.tokens
        if prompt.cores is not None:
            plain["cores"] = prompt.cores
        if prompt.encoder_tokens:
            plain["encoder_tokens"] = list(prompt.encoder_tokens)
        texts = (prompt.notes + prompt.licence + prompt.author).encode()
        if 0 < len(prompt.thumbnail) <= LIMIT_WITH_TEXT - len(texts):
            plain["thumbnail"] = np.frombuffer(prompt.thumbnail, np.uint8)
    return plain


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
            tiling=_tiling(plain["tile"]),
            normalization=Normalization(
                mode=plain["normalization"]["mode"],
                low=as_number(plain["normalization"]["low"]),
                high=as_number(plain["normalization"]["high"]),
            ),
            channels=None if channels is None else tuple(as_integer(c) for c in as_list(channels)),
        ),
        pixel_size=None if size is None else as_pixel_size(size),
        origin=_origin(plain["origin"]),
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


def _tiling(value: Any) -> Tiling:
    return Tiling(as_integer(value["side"]), as_flag(value["whole"]), as_number(value["overlap"]))


def _refinement(value: Any) -> Refinement | None:
    if value is None:
        return None
    return Refinement(
        as_integer(value["radius"]), as_number(value["epsilon"]), as_number(value["threshold"])
    )


def _origin(value: Any) -> Origin:
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
        versions={as_text(k): as_text(v) for k, v in dict(value["versions"]).items()},
    )
