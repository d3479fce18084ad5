"""Prompts as one line of text, for a chat or a lab book.

The line is ``ptsam1:`` and, in base64, the first 8 bytes of the SHA-256 of the rest, and the rest
compressed by zlib: the description (JSON, ended by a zero byte) and the decoder tokens in float16,
first all upper bytes, which compress well because they are similar, then all lower ones. The line
of a prompt with detail heads starts with ``ptsam2:``, and the parameters of the heads follow the
tokens.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import InputError, PromptFileError
from napari_ptsam.io.safe_loading import unreadable_as
from napari_ptsam.prompts.contents import KIND, VERSION, from_plain, to_plain
from napari_ptsam.prompts.detail import MOST_WIDTH, parameter_count
from napari_ptsam.prompts.prompt import MAX_CLASSES, TOKENS, WIDTH

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt

MARK = "ptsam1:"
WITH_DETAIL = "ptsam2:"
"""Mark of a prompt with detail heads, which versions without them decline."""
LIMIT = 6000
"""Largest number of characters for one class."""
HEAD_LIMIT = 33_000
"""Largest number of further characters for a detail head."""
DAMAGED = "The text is damaged: something is missing or was changed on the way. Copy the whole line again."
CHECK = 8
"""Size of the checksum in bytes."""
_MOST_BYTES = 2 * (TOKENS * WIDTH + parameter_count(MOST_WIDTH)) * MAX_CLASSES + 10_000
_LONGEST = (LIMIT + HEAD_LIMIT) * MAX_CLASSES
# A dictionary for zlib: parts that most descriptions have in common.
_KNOWN = json.dumps(
    {
        "classes": ["foreground"], "colours": ["#E69F00"], "backbone": "vit_t",
        "signature": "", "weights": "vit_t",
        "tile": {"side": 512, "whole": True, "overlap": 0.125},
        "normalization": {"mode": "plane", "low": 1.0, "high": 99.8}, "channels": None,
        "pixel_size": None,
        "origin": {
            "images": 16, "held_out_images": 2, "steps": 400, "batch_size": 4, "seed": 0,
            "held_out_dice": 0.9, "measured_on_training": False, "start": "label or normal",
            "date": "2026-11-25T12:00:00+00:00", "versions": {},
        },
        "refinement": {"radius": 4, "epsilon": 0.01, "threshold": 0.0}, "notes": "", "licence": "CC0 CC-BY-4.0", "author": "", "flips": ["x", "y", "xy"],
    },
    separators=(",", ":"),
).encode()  # fmt: skip


def to_text(prompt: Prompt) -> str:
    """Write a prompt as one line of text.

    The tokens are written in float16, to which trainings round them; those of version 0.1.0 were
    not rounded, and change a little. Markers are left out because they would be too long, so
    objects are connected components.

    Parameters
    ----------
    prompt
        The prompt.

    Returns
    -------
    str
        Up to 6,000 characters for one class, and about 4,800 for each further one; up to
        33,000 more for each detail head.

    Raises
    ------
    InputError
        If the prompt has encoder tokens, or its notes are too long.
    """
    if prompt.encoder_tokens:
        raise InputError(
            "A prompt with encoder tokens is too long for a line of text; share the file, or train "
            "with 0 encoder tokens."
        )
    text = _encode(replace(prompt, markers=None))
    limit = LIMIT * len(prompt.classes) + HEAD_LIMIT * sum(map(bool, prompt.detail))
    if len(text) > limit:
        raise InputError(
            f"With its notes, the prompt has {len(text):,} characters, and {limit:,} are the limit; "
            "shorten the notes."
        )
    return text


def _encode(prompt: Prompt) -> str:
    plain = to_plain(prompt, with_tokens=False)
    for known in ("kind", "version"):
        del plain[known]
    plain["origin"]["versions"] = {}
    description = json.dumps(plain, separators=(",", ":"), ensure_ascii=False).encode()
    if np.abs(prompt.tokens).max() > np.finfo(np.float16).max:
        raise InputError("The decoder tokens are too large for a line of text; share the file.")
    values = [prompt.tokens.ravel()]
    values += [head.parameters for head in prompt.detail if head is not None]
    halves = np.concatenate([part.astype("<f2") for part in values]).view(np.uint8).reshape(-1, 2)
    packer = zlib.compressobj(9, zdict=_KNOWN)
    packed = packer.compress(description + b"\0" + halves.T[::-1].tobytes()) + packer.flush()
    packed += bytes(
        -(CHECK + len(packed)) % 3
    )  # no padding, so that a change of any character is noticed
    mark = WITH_DETAIL if prompt.detail else MARK
    return mark + base64.b64encode(_checksum(packed) + packed).decode()


def from_text(text: str) -> Prompt:
    """Read a prompt from a line of text.

    Parameters
    ----------
    text
        The line written by `to_text`; blanks, line breaks and quotation marks, which chats may
        add, are ignored.

    Raises
    ------
    PromptFileError
        If it is no such line, or is damaged.
    """
    line = re.sub(r"[\s\"'`“”<>]+", "", text[:_LONGEST])
    mark = next((mark for mark in (MARK, WITH_DETAIL) if line.startswith(mark)), None)
    if mark is None:
        newer = re.match(r"ptsam(\d+):", line)
        raise PromptFileError(
            "The text is that of a newer napari-ptsam; update napari-ptsam."
            if newer and int(newer[1]) > 2
            else f"This is no prompt as text; it begins with {MARK}. Copy the whole line."
        )
    with unreadable_as(PromptFileError, lambda _: DAMAGED):
        raw = base64.b64decode(line.removeprefix(mark), validate=True)
        if raw[:CHECK] != _checksum(raw[CHECK:]):
            raise ValueError("another checksum")
        prompt = _decode(raw[CHECK:])
        if bool(prompt.detail) != (mark == WITH_DETAIL):
            raise ValueError("another mark")
        return prompt


def _decode(packed: bytes) -> Prompt:
    unpacker = zlib.decompressobj(zdict=_KNOWN)
    content = unpacker.decompress(packed, _MOST_BYTES)
    if not unpacker.eof:
        raise ValueError("incomplete")
    description, _, halves = content.partition(b"\0")
    plain: dict[str, Any] = {**json.loads(description), "kind": KIND, "version": VERSION}
    classes = len(plain["classes"])
    upper, lower = np.frombuffer(halves, np.uint8).reshape(2, -1)
    values = np.stack([lower, upper], axis=1).reshape(-1).view("<f2").astype(np.float16)
    heads = [head for head in plain.get("detail", ()) if head is not None]
    sizes = [classes * TOKENS * WIDTH, *(parameter_count(head["width"]) for head in heads)]
    if sum(sizes) != len(values):
        raise ValueError("another number of values")
    tokens, *parameters = np.split(values, np.cumsum(sizes[:-1]))
    import torch

    plain["tokens"] = torch.from_numpy(tokens.astype(np.float32)).view(classes, TOKENS, WIDTH)
    for head, part in zip(heads, parameters, strict=True):
        head["parameters"] = torch.from_numpy(part.copy())
    return from_plain(plain)


def _checksum(packed: bytes) -> bytes:
    return hashlib.sha256(packed).digest()[:CHECK]
