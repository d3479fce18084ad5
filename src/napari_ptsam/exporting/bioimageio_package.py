"""A prompt and its backbone as a package of the BioImage Model Zoo."""

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
from napari_ptsam.exporting.onnx_file import NEEDS, Checked, export_onnx
from napari_ptsam.prompts.describe import describe
from napari_ptsam.writing import check_output, replacing

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt

PAPER = "10.48550/arXiv.2504.16739"
SAM = "10.48550/arXiv.2304.02643"
LICENCE = "CC-BY-4.0"
"""Of packages whose prompt names none that the zoo knows."""


def export_bioimageio(
    prompt: Prompt,
    path: str | Path,
    checkpoint: str | Path | None = None,
    rgb: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write a package (.zip) that bioimageio.core and programs that build on it run.

    It holds the ONNX file (see `napari_ptsam.exporting.onnx_file.export_onnx`),
    how values become the range 0 to 1, and a test tile with its probabilities.
    bioimageio.core's own test is run on it before it gets its name.

    Raises
    ------
    InputError
        If the packages for it are missing.
    OutputError
        If it cannot be written, or does not pass the test.
    """
    check_output(path, overwrite)
    try:
        import bioimageio.core
        import bioimageio.spec
    except ImportError as error:
        raise InputError(f"{NEEDS} ({error.name} is missing).") from error
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages, about themselves
        folder = Path(temporary)
        checked = export_onnx(prompt, folder / "weights.onnx", checkpoint, rgb)
        description = _describe(prompt, checked, folder)
        package = folder / "package.zip"
        bioimageio.spec.save_bioimageio_package(description, output_path=package)
        summary = bioimageio.core.test_description(package)
        gc.collect()  # it leaves the package open, which Windows would not let us delete then
        if summary.status == "failed":
            raise OutputError(
                "The package did not pass the test of bioimageio.core, and was thrown away: "
                f"{_reason(summary)}"
            )
        with replacing(path, overwrite) as beside:
            shutil.copyfile(package, beside)
    return Path(path)


def _describe(prompt: Prompt, checked: Checked, folder: Path) -> Any:
    """The package's description; writes the files that it names."""
    from bioimageio.spec.model import v0_5 as zoo

    _write_test(prompt, checked, folder)
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
        license=_licence(prompt),
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
                preprocessing=_preprocessing(prompt, zoo),
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
    """The first of what went wrong."""
    told = [error.msg for detail in summary.details for error in detail.errors]
    return told[0] if told else "no reason was given"


def _preprocessing(prompt: Prompt, zoo: Any) -> list[Any]:
    """From pixel values to the range 0 to 1, in the zoo's words.

    It knows no percentiles of a whole stack; those of each image stand for them.
    """
    values = prompt.images.normalization
    if values.mode == "range":
        gain = 1 / (values.high - values.low)
        scale = zoo.ScaleLinearDescr(
            kwargs=zoo.ScaleLinearKwargs(gain=gain, offset=-values.low * gain)
        )
    else:
        axes = [zoo.AxisId(name) for name in ("channel", "y", "x")]
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


def _write_test(prompt: Prompt, checked: Checked, folder: Path) -> None:
    """A tile as it is read, what is found on it, and a picture of both."""
    import onnxruntime
    from PIL import Image

    raw = (1000 * checked.example).astype(np.float32)
    plane = np.moveaxis(raw[0], 0, -1)
    settings = replace(prompt.images, channels=None)
    if settings.normalization.mode == "stack":
        settings = replace(settings, normalization=replace(settings.normalization, mode="plane"))
    seen = settings.prepare(plane, rgb=checked.channels == 3)[..., : checked.channels]
    session = onnxruntime.InferenceSession(str(checked.path), providers=["CPUExecutionProvider"])
    tile = np.ascontiguousarray(np.moveaxis(seen, -1, 0)[None])
    (found,) = session.run(None, {"image": tile})
    np.save(folder / "input.npy", raw)
    np.save(folder / "output.npy", found)
    grey = seen.mean(-1)
    picture = (255 * np.concatenate([grey, found[0].max(0)], axis=1)).astype(np.uint8)
    Image.fromarray(picture).resize((512, 256)).save(folder / "cover.png")


def _licence(prompt: Prompt) -> Any:
    """The prompt's, if the zoo knows it by its SPDX name; else the usual one for the zoo."""
    from bioimageio.spec.generic.v0_3 import LicenseId

    try:
        return LicenseId(prompt.licence)
    except ValueError:
        return LicenseId(LICENCE)


def _readme(prompt: Prompt) -> str:
    return (
        "# What it is\n\nA specialist made with napari-ptsam: SAM with learned prompt tokens. One pass "
        "gives the probability of each class.\n\n```\n"
        f"{describe(prompt)}\n```\n\n# Validation\n\nThe Dice above was measured on planes that were held "
        "out of the training, if any were. Look at results on images of your own before you rely on them.\n"
    )
