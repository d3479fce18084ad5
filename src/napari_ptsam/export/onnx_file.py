"""A prompt and its backbone as an ONNX file."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import InputError, OutputError
from napari_ptsam.io.writing import check_output, replacing

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt

OPSET = 18
TOO_LARGE = ("vit_h",)
AGREES = 1e-3
"""Largest difference between ONNX Runtime's probabilities and PyTorch's."""
NEEDS = "Exports need more packages; install them with: pip install 'napari-ptsam[export]'"


@dataclass(frozen=True)
class CheckedExport:
    """An export that was compared with PyTorch.

    Attributes
    ----------
    path
        The file.
    side, channels
        Of the tile that it takes.
    difference
        Largest one between ONNX Runtime's probabilities and PyTorch's.
    opset
        Version of ONNX's operators.
    example
        The tile that was compared: float32, shape (1, channels, side, side).
    """

    path: Path
    side: int
    channels: int
    difference: float
    opset: int
    example: np.ndarray


def export_onnx(
    prompt: Prompt,
    path: str | Path,
    checkpoint: str | Path | None = None,
    rgb: bool = False,
    overwrite: bool = False,
) -> CheckedExport:
    """Write an ONNX file: an image tile goes in, probabilities come out.

    Input ``image``: float32, shape (1, channels, side, side), range 0 to 1;
    the side is that of the prompt's tiles. Output ``probability``: float32,
    shape (1, classes, side, side). What else is to be known, such as how values
    become the range 0 to 1, is in the file's metadata under ``napari-ptsam``.

    Parameters
    ----------
    prompt
        What is to be found.
    path
        Where to write.
    checkpoint
        See `napari_ptsam.prompts.backbone.backbone_of`.
    rgb
        Whether images have three channels; else they have one.
    overwrite
        Whether a file that is there already may be replaced.

    Raises
    ------
    InputError
        If the packages for it are missing.
    OutputError
        If it cannot be written, or ONNX Runtime gives other probabilities.
    """
    check_output(path, overwrite)
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401, what torch exports with
    except ImportError as error:
        raise InputError(f"{NEEDS} ({error.name} is missing).") from error
    if prompt.backbone in TOO_LARGE:
        raise InputError(
            f"A {prompt.backbone} has more than the 2 GB that an ONNX file can hold; export a prompt of a "
            "smaller backbone."
        )
    side, channels = prompt.images.tiling.side, channels_of(prompt, rgb)
    tile = _example(channels, side)
    model, expected = _translated(prompt, checkpoint, tile)
    onnx.helper.set_model_props(model, {"napari-ptsam": json.dumps(describe(prompt, rgb))})
    with replacing(path, overwrite) as beside:
        onnx.save(model, str(beside))
        session = onnxruntime.InferenceSession(str(beside), providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"image": tile})
        difference = float(np.abs(found - expected).max())
        if not difference <= AGREES:
            raise OutputError(
                f"The export differs from PyTorch by {difference:.2g}; it was thrown away. Update "
                "onnxruntime, or report it with the versions of torch and onnxruntime."
            )
    opset = next(one.version for one in model.opset_import if not one.domain)
    return CheckedExport(Path(path), side, channels, difference, opset, tile)


def _translated(
    prompt: Prompt, checkpoint: str | Path | None, tile: np.ndarray
) -> tuple[Any, np.ndarray]:
    """The network in ONNX's words, and what it gives for a tile in PyTorch."""
    import torch

    from napari_ptsam.backbones.kernels.fused import public_operators
    from napari_ptsam.export.specialist import Specialist
    from napari_ptsam.prompts.backbone import backbone_of

    backbone = backbone_of(prompt, checkpoint, "cpu", torch.float32)
    module = Specialist(prompt, backbone, tile.shape[-1]).eval()
    image = torch.from_numpy(tile)
    with torch.no_grad(), public_operators(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        expected = module(image).numpy()
        program = torch.onnx.export(
            module, (image,), dynamo=True, opset_version=OPSET, input_names=["image"],
            output_names=["probability"], verbose=False,
        )  # fmt: skip
    assert program is not None
    return program.model_proto, expected


def channels_of(prompt: Prompt, rgb: bool) -> int:
    """Of the images that an export takes."""
    if prompt.images.channels is not None:
        return len(prompt.images.channels)
    trained = prompt.trained_channels
    return 3 if rgb else 1 if trained is None else trained.count


def are_colours(prompt: Prompt, rgb: bool) -> bool:
    """Whether the channels are red, green and blue, which share their percentiles.

    What the prompt was trained on says so; without that, what is said of the images.
    """
    trained = prompt.trained_channels
    if trained is None or trained.kind == "grey":
        return rgb
    return trained.kind == "rgb"


def describe(prompt: Prompt, rgb: bool) -> dict[str, Any]:
    """What a program has to know to use an export."""
    return {
        "classes": list(prompt.classes),
        "colours": list(prompt.colours),
        "backbone": prompt.backbone_name,
        "channels": channels_of(prompt, rgb),
        "tile": asdict(prompt.images.tiling),
        "normalization": asdict(prompt.images.normalization),
        "licence": prompt.licence,
        "author": prompt.author,
        "notes": prompt.notes,
    }


def _example(channels: int, side: int) -> np.ndarray:
    """A tile of soft blobs in noise: float32, shape (1, channels, side, side), range 0 to 1."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    blobs = ndimage.gaussian_filter(rng.random((side, side)), side / 24, mode="wrap")
    blobs = (blobs - blobs.min()) / np.ptp(blobs)
    noise = 0.1 * rng.random((channels, side, side))
    tile: np.ndarray = (0.9 * blobs + noise).astype(np.float32)[None]
    return tile
