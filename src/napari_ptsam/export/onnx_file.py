"""Export a prompt and its backbone as an ONNX file."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.backbones.families.registry import architectures
from napari_ptsam.errors import InputError, Message, OutputError, Term
from napari_ptsam.io.writing import check_output, replacing

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt

OPSET = 18
SIZE_LIMIT = 2**31
"""Largest size in bytes of an ONNX file."""
AGREES = 1e-3
"""Largest accepted difference between the probabilities of ONNX Runtime and PyTorch."""
NEEDS = "Exports need further packages; install them with: pip install 'napari-ptsam[export]'"


@dataclass(frozen=True)
class CheckedExport:
    """An exported file that was compared with PyTorch.

    Attributes
    ----------
    path
        Path of the file.
    side, channels
        Side in pixels, and number of channels, of the tile that it takes.
    difference
        Largest difference between the probabilities of ONNX Runtime and PyTorch.
    opset
        Version of ONNX's operator set.
    example
        The tile that was compared: float32, shape (1, channels, side, side).
    probabilities
        What ONNX Runtime computes for it: float32, shape (1, classes, side, side).
    """

    path: Path
    side: int
    channels: int
    difference: float
    opset: int
    example: np.ndarray
    probabilities: np.ndarray


def export_onnx(
    prompt: Prompt,
    path: str | Path,
    checkpoint: str | Path | None = None,
    rgb: bool = False,
    overwrite: bool = False,
    example: np.ndarray | None = None,
) -> CheckedExport:
    """Write an ONNX file that computes the probabilities of an image tile.

    The input ``image`` is float32, of shape (1, channels, side, side), in the
    range 0 to 1; the side is that of the prompt's tiles. The output
    ``probability`` is float32, of shape (1, classes, side, side). The file's
    metadata under ``napari-ptsam`` describes the rest, such as how intensities
    are mapped to the range 0 to 1.

    Parameters
    ----------
    prompt
        The prompt.
    path
        Path of the file.
    checkpoint
        File with the weights of the backbone; see
        `napari_ptsam.prompts.backbone.backbone_of`.
    rgb
        Whether images have three channels instead of one, if the prompt does not
        determine it.
    overwrite
        Whether an existing file is replaced.
    example
        Tile to compare on: float32, shape (1, channels, side, side), range 0 to 1. None
        stands for `example_tile`.

    Returns
    -------
    CheckedExport
        The file, after comparing it with PyTorch.

    Raises
    ------
    InputError
        If packages are missing, or the backbone is too large.
    OutputError
        If the file cannot be written, or ONNX Runtime computes other probabilities.
    """
    check_output(path, overwrite)
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401, torch needs it for the export
    except ImportError as error:
        raise InputError(f"{NEEDS} ({error.name} is missing).") from error
    if 4 * architectures().get(prompt.backbone, 0) > SIZE_LIMIT:
        raise InputError(
            Message(
                f"A {prompt.backbone} has more than the 2 GB that an ONNX file can hold; export a "
                "prompt for a smaller ",
                Term.BACKBONE,
                ".",
            )
        )
    side, channels = prompt.images.tiling.side, channels_of(prompt, rgb)
    tile = example_tile(prompt, rgb) if example is None else example
    model, expected = _translated(prompt, checkpoint, tile)
    onnx.helper.set_model_props(model, {"napari-ptsam": json.dumps(describe(prompt, rgb))})
    with replacing(path, overwrite) as beside:
        onnx.save(model, str(beside))
        session = onnxruntime.InferenceSession(str(beside), providers=["CPUExecutionProvider"])
        (computed,) = session.run(None, {"image": tile})
        difference = float(np.abs(computed - expected).max())
        if not difference <= AGREES:
            raise OutputError(
                f"The export differs from PyTorch by {difference:.2g} and was deleted. Update onnxruntime, "
                "or report it with the versions of torch and onnxruntime."
            )
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    return CheckedExport(Path(path), side, channels, difference, opset, tile, computed)


def _translated(
    prompt: Prompt, checkpoint: str | Path | None, tile: np.ndarray
) -> tuple[Any, np.ndarray]:
    """Return the network in ONNX, and what PyTorch computes for a tile."""
    import torch
    from onnxscript import optimizer

    from napari_ptsam.backbones.kernels.fused import public_operators
    from napari_ptsam.export.specialist import Specialist
    from napari_ptsam.prompts.backbone import backbone_of

    backbone = backbone_of(prompt, checkpoint, "cpu", torch.float32)
    module = Specialist(prompt, backbone, tile.shape[-1]).eval()
    image = torch.from_numpy(tile)
    # The exporter's optimiser takes as long as the rest of the export, most of it for rewriting nodes,
    # which ONNX Runtime does when it loads the file. Folding constants takes a second.
    options: Any = {"optimize": False}
    if "optimize" not in signature(torch.onnx.export).parameters:  # torch 2.5
        options = {}
    with torch.no_grad(), public_operators(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of the exporter about itself
        expected = module(image).numpy()
        program = torch.onnx.export(
            module, (image,), dynamo=True, opset_version=OPSET, input_names=["image"],
            output_names=["probability"], verbose=False, **options,
        )  # fmt: skip
        assert program is not None
        optimizer.fold_constants(program.model)
        optimizer.remove_unused_nodes(program.model)
    return program.model_proto, expected


def channels_of(prompt: Prompt, rgb: bool) -> int:
    """Return the number of channels of the images that an export takes."""
    if prompt.images.channels is not None:
        return len(prompt.images.channels)
    trained = prompt.trained_channels
    return 3 if rgb else 1 if trained is None else trained.count


def are_colours(prompt: Prompt, rgb: bool) -> bool:
    """Return whether the channels are red, green and blue, which share their percentiles.

    The images that the prompt was trained on determine it; if they are unknown or
    grey, ``rgb`` does.
    """
    trained = prompt.trained_channels
    if trained is None or trained.kind == "grey":
        return rgb
    return trained.kind == "rgb"


def describe(prompt: Prompt, rgb: bool) -> dict[str, Any]:
    """Return what a program needs to know to use an export."""
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


def example_tile(prompt: Prompt, rgb: bool) -> np.ndarray:
    """Make a tile of blobs and noise: float32, shape (1, channels, side, side), range 0 to 1."""
    from scipy import ndimage

    side, channels = prompt.images.tiling.side, channels_of(prompt, rgb)
    rng = np.random.default_rng(0)
    blobs = ndimage.gaussian_filter(rng.random((side, side)), side / 24, mode="wrap")
    blobs = (blobs - blobs.min()) / np.ptp(blobs)
    noise = 0.1 * rng.random((channels, side, side))
    tile: np.ndarray = (0.9 * blobs + noise).astype(np.float32)[None]
    return tile
