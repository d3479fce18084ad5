"""Export a prompt and its backbone as a package of the BioImage Model Zoo."""

from __future__ import annotations

import gc
import re
import shutil
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import InputError, OutputError
from napari_ptsam.export.onnx_file import (
    NEEDS,
    CheckedExport,
    are_colours,
    example_tile,
    export_onnx,
)
from napari_ptsam.io.writing import check_output, replacing
from napari_ptsam.prompts.describe import describe

if TYPE_CHECKING:
    from napari_ptsam.images.normalize import Normalization
    from napari_ptsam.prompts.prompt import Prompt

PAPER = "10.48550/arXiv.2504.16739"
SAM = "10.48550/arXiv.2304.02643"
LICENCE_FILE = "LICENSE.txt"
"""File with the text of a licence that the zoo has no name for."""
GAINS, OFFSETS = (1000.0, 200.0, 4000.0), (0.0, 700.0, 100.0)
"""Factors and offsets that give each channel of the test tile its own range of values."""


def export_bioimageio(
    prompt: Prompt,
    path: str | Path,
    checkpoint: str | Path | None = None,
    rgb: bool = False,
    overwrite: bool = False,
    licence: str | None = None,
) -> Path:
    """Write a package (.zip) for bioimageio.core and the programs that use it.

    It contains the ONNX file (see `napari_ptsam.export.onnx_file.export_onnx`),
    the preprocessing that maps intensities to the range 0 to 1, and a test tile
    with its probabilities. It is written only if it passes bioimageio.core's test.

    Parameters
    ----------
    prompt, path, checkpoint, overwrite
        See `export_onnx`.
    rgb
        Whether images are red, green and blue, which share their percentiles, if
        the prompt does not determine it. Otherwise each channel has its own.
    licence
        SPDX name of the package's licence, such as ``CC-BY-4.0``. None takes the
        licence of the prompt. A package without a licence is valid, but the zoo's
        website does not accept it.

    Returns
    -------
    pathlib.Path
        Path of the package.

    Raises
    ------
    InputError
        If Python packages are missing, or the licence is unknown.
    OutputError
        If the package cannot be written, or does not pass the test.
    """
    check_output(path, overwrite)
    try:
        import bioimageio.core
        import bioimageio.spec
    except ImportError as error:
        raise InputError(f"{NEEDS} ({error.name} is missing).") from error
    if licence is not None and _known_licence(licence) is None:
        raise InputError(
            f"{licence!r} is no name of a licence that the BioImage Model Zoo knows; choose one from "
            "https://spdx.org/licenses, for instance CC-BY-4.0 or CC0-1.0."
        )
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of the packages about themselves
        folder = Path(temporary)
        colours = are_colours(prompt, rgb)
        raw, tile = _test_tile(prompt, rgb, colours)
        weights = folder / "weights.onnx"
        checked = export_onnx(prompt, weights, checkpoint, rgb, example=tile)
        _write_test(raw, checked, folder)
        description = _describe(prompt, checked, folder, colours, licence)
        package = folder / "package.zip"
        bioimageio.spec.save_bioimageio_package(description, output_path=package)
        summary = bioimageio.core.test_description(package)
        gc.collect()  # closes the package; Windows cannot delete open files
        if summary.status != "passed":  # "valid-format" means that the probabilities differ
            raise OutputError(
                "The package did not pass the test of bioimageio.core and was deleted: "
                f"{_reason(summary)}"
            )
        with replacing(path, overwrite) as beside:
            shutil.copyfile(package, beside)
    return Path(path)


def _describe(
    prompt: Prompt, checked: CheckedExport, folder: Path, colours: bool, licence: str | None
) -> Any:
    """Write the description for people, and return the one for programs."""
    from bioimageio.spec.model import v0_5 as zoo

    (folder / "README.md").write_text(_readme(prompt), encoding="utf-8")

    def axes(space: Any, names: list[str]) -> list[Any]:
        sides = [space(id=zoo.AxisId(name), size=checked.side) for name in "yx"]
        return [zoo.BatchAxis(size=1), zoo.ChannelAxis(channel_names=names), *sides]

    return zoo.ModelDescr(
        name=re.sub(r"[^\w+ ()-]", "-", f"{', '.join(prompt.classes)} (PTSAM)", flags=re.ASCII)[
            :120
        ],
        description=f"Finds {', '.join(prompt.classes)}: SAM with a tuned prompt."[:1000],
        authors=[zoo.Author(name=re.sub(r"[/\\\\]", "-", prompt.author) or "unknown")],
        license=_licence(licence or prompt.licence, folder),
        documentation=zoo.FileDescr(source=folder / "README.md"),
        covers=[zoo.FileDescr(source=folder / "cover.png")],
        tags=["segmentation", "segment-anything", "prompt-tuning", "2d"],
        cite=[
            zoo.CiteEntry(
                text="Piater, Barz, Freytag: Prompt-Tuning SAM. 2025", doi=zoo.Doi(PAPER)
            ),
            zoo.CiteEntry(text="Kirillov et al.: Segment Anything. 2023", doi=zoo.Doi(SAM)),
        ],
        inputs=[
            zoo.InputTensorDescr(
                id=zoo.TensorId("image"),
                axes=axes(zoo.SpaceInputAxis, [f"channel{i}" for i in range(checked.channels)]),
                test_tensor=zoo.FileDescr(source=folder / "input.npy"),
                preprocessing=_preprocessing(prompt, zoo, colours),
            )
        ],
        outputs=[
            zoo.OutputTensorDescr(
                id=zoo.TensorId("probability"),
                axes=axes(zoo.SpaceOutputAxis, list(prompt.classes)),
                test_tensor=zoo.FileDescr(source=folder / "output.npy"),
            )
        ],
        weights=zoo.WeightsDescr(
            onnx=zoo.OnnxWeightsDescr(source=checked.path, opset_version=checked.opset)
        ),
    )


def _reason(summary: Any) -> str:
    """Return the first error of a test."""
    messages = [error.msg for detail in summary.details for error in detail.errors]
    return messages[0] if messages else "no reason was given"


def _preprocessing(prompt: Prompt, zoo: Any, colours: bool) -> list[Any]:
    """Return the zoo's steps that map intensities to the range 0 to 1.

    Each channel has its own percentiles, except for colours; see
    `napari_ptsam.images.normalize.value_limits`. The zoo has no percentiles of a
    whole stack; those of each image are used instead.
    """
    values = prompt.images.normalization
    if values.mode == "range":
        gain = 1 / (values.high - values.low)
        scale = zoo.ScaleLinearDescr(
            kwargs=zoo.ScaleLinearKwargs(gain=gain, offset=-values.low * gain)
        )
    else:
        jointly = ("channel", "y", "x") if colours else ("y", "x")
        axes = [zoo.AxisId(name) for name in jointly]
        scale = zoo.ScaleRangeDescr(
            kwargs=zoo.ScaleRangeKwargs(
                axes=axes, min_percentile=values.low, max_percentile=values.high
            )
        )
    return [
        zoo.EnsureDtypeDescr(kwargs=zoo.EnsureDtypeKwargs(dtype="float32")),
        scale,
        zoo.ClipDescr(kwargs=zoo.ClipKwargs(min=0.0, max=1.0)),
    ]


def _test_tile(prompt: Prompt, rgb: bool, colours: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return a test tile, and the same tile as the network takes it.

    Both are float32, of shape (1, channels, side, side); the second is in the range 0 to 1.
    """
    settings = replace(prompt.images, channels=None)
    raw = _raw(example_tile(prompt, rgb), settings.normalization)
    plane = np.moveaxis(raw[0], 0, -1)
    if settings.normalization.mode == "stack":
        settings = replace(settings, normalization=replace(settings.normalization, mode="plane"))
    prepared = settings.prepare(plane, colours).pixels[..., : raw.shape[1]]
    return raw, np.ascontiguousarray(np.moveaxis(prepared, -1, 0)[None])


def _write_test(raw: np.ndarray, checked: CheckedExport, folder: Path) -> None:
    """Write a test tile with its probabilities, and a picture of both."""
    from PIL import Image

    np.save(folder / "input.npy", raw)
    np.save(folder / "output.npy", checked.probabilities)
    grey, found = checked.example[0].mean(0), checked.probabilities[0].max(0)
    picture = (255 * np.concatenate([grey, found], axis=1)).astype(np.uint8)
    Image.fromarray(picture).resize((512, 256)).save(folder / "cover.png")


def _raw(example: np.ndarray, normalization: Normalization) -> np.ndarray:
    """Return the tile with a range of values of its own in each channel: float32."""
    count = example.shape[1]
    gain, offset = (np.reshape(v[:count], (1, -1, 1, 1)) for v in (GAINS, OFFSETS))
    if normalization.mode == "range":  # within the range, so that the tile has contrast
        low, high = normalization.low, normalization.high
        gain, offset = (high - low) * gain / max(GAINS), np.asarray(low)
    raw: np.ndarray = (gain * example + offset).astype(np.float32)
    return raw


def _known_licence(name: str) -> Any:
    """Return the zoo's licence of an SPDX name; None if there is none."""
    from bioimageio.spec.generic.v0_3 import LicenseId

    try:
        return LicenseId(name)
    except ValueError:
        return None


def _licence(text: str, folder: Path) -> Any:
    """Return the licence by its SPDX name, or else as a file; None if the text is empty."""
    from bioimageio.spec.model import v0_5 as zoo

    if not text.strip():
        return None
    known = _known_licence(text.strip())
    if known is None:
        (folder / LICENCE_FILE).write_text(text, encoding="utf-8")
        return zoo.FileDescr(source=folder / LICENCE_FILE)
    return known


def _readme(prompt: Prompt) -> str:
    return (
        "# Description\n\nA specialist made with napari-ptsam: SAM with learned prompt tokens. One pass "
        "computes the probability of each class.\n\n```\n"
        f"{describe(prompt)}\n```\n\n# Validation\n\nThe Dice above was measured on validation planes, if "
        "there were any: the training did not learn from them, but chose the prompt by them. Check the "
        "results on images of your own before you rely on them.\n"
    )
