"""The commands ``text``, ``import``, ``merge``, ``split`` and ``export``."""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from pathlib import Path

from napari_ptsam.errors import InputError
from napari_ptsam.io.writing import check_output, safe_file_name
from napari_ptsam.prompts.files import load
from napari_ptsam.prompts.merging import merge, split
from napari_ptsam.prompts.text import from_text, to_text


def write_text(options: Namespace) -> None:
    """Run ``napari-ptsam text PROMPT.pt``."""
    prompt = load(options.prompt)
    line = to_text(prompt)
    if prompt.markers is not None:
        print("The markers are left out of the line; the prompt file has them.", file=sys.stderr)
    print(line)


def add_import_options(add: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-ptsam import``."""
    add.add_argument(
        "text", nargs="?", default="-", help="The line. Default: read from standard input."
    )
    _add_out(add)


def read_text(options: Namespace) -> None:
    """Run ``napari-ptsam import [TEXT] -o PROMPT.pt``."""
    check_output(options.out, options.overwrite)
    prompt = from_text(sys.stdin.read() if options.text == "-" else options.text)
    prompt.save(options.out, options.overwrite)
    print(f"{options.out}: {', '.join(prompt.classes)}, for the backbone {prompt.backbone_name}")


def add_merge_options(add: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-ptsam merge``."""
    add.add_argument("prompts", type=Path, nargs="+", metavar="PROMPT.pt")
    _add_out(add)
    add.add_argument(
        "--classes",
        metavar="NAME[,NAME...]",
        help="Names of the classes. Default: those of the prompts.",
    )
    add.add_argument(
        "--images-of", type=int, metavar="NUMBER",
        help="If normalization, channels and tiles differ, take those of the prompt with this number, "
        "counted from 1.",
    )  # fmt: skip


def merge_files(options: Namespace) -> None:
    """Run ``napari-ptsam merge PROMPT.pt ... -o PROMPT.pt``."""
    check_output(options.out, options.overwrite)
    names = None if options.classes is None else [n.strip() for n in options.classes.split(",")]
    chosen = None if options.images_of is None else options.images_of - 1
    prompt = merge([load(path) for path in options.prompts], names, chosen)
    prompt.save(options.out, options.overwrite)
    print(f"{options.out}: {', '.join(prompt.classes)}")


def add_export_options(add: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-ptsam export``."""
    add.add_argument("prompt", type=Path, metavar="PROMPT.pt")
    add.add_argument("--onnx", type=Path, metavar="OUT.onnx", help="Write an ONNX file.")
    add.add_argument(
        "--bioimageio",
        type=Path,
        metavar="OUT.zip",
        help="Write a package of the BioImage Model Zoo.",
    )
    add.add_argument(
        "--rgb", action="store_true", help="Export for images of three channels instead of one."
    )
    add.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="File with the weights of the backbone."
    )
    add.add_argument(
        "--licence", "--license", metavar="NAME",
        help="Licence of the package, an SPDX name such as CC-BY-4.0. Default: that of the prompt.",
    )  # fmt: skip


def export(options: Namespace) -> None:
    """Run ``napari-ptsam export PROMPT.pt --onnx OUT.onnx --bioimageio OUT.zip``."""
    if options.onnx is None and options.bioimageio is None:
        raise InputError("Say what to write: --onnx OUT.onnx, --bioimageio OUT.zip, or both.")
    prompt = load(options.prompt)
    arguments = (options.checkpoint, options.rgb, options.overwrite)
    if options.onnx is not None:
        from napari_ptsam.export.onnx_file import export_onnx

        exported = export_onnx(prompt, options.onnx, *arguments)
        print(
            f"{exported.path}: tiles of {exported.side} px, {exported.channels} channel(s), "
            f"{exported.path.stat().st_size / 1e6:.0f} MB; within {exported.difference:.1g} of PyTorch"
        )
    if options.bioimageio is not None:
        from napari_ptsam.export.bioimageio_package import export_bioimageio

        path = export_bioimageio(prompt, options.bioimageio, *arguments, licence=options.licence)
        print(f"{path}: {path.stat().st_size / 1e6:.0f} MB; passed the test of bioimageio.core")
        if not (options.licence or prompt.licence):
            print(
                "The package names no licence. Without one nobody may use it, and the zoo does not accept "
                "it; choose one, for instance with --licence CC-BY-4.0.",
                file=sys.stderr,
            )


def add_split_options(add: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-ptsam split``."""
    add.add_argument("prompt", type=Path, metavar="PROMPT.pt")
    add.add_argument(
        "-o", "--out", type=Path, required=True, metavar="FOLDER", help="Folder for the prompts."
    )


def split_file(options: Namespace) -> None:
    """Run ``napari-ptsam split PROMPT.pt -o FOLDER``."""
    prompt = load(options.prompt)
    if len(prompt.classes) == 1:
        raise InputError(f"{options.prompt} has one class only; there is nothing to split.")
    targets = [
        options.out / f"{safe_file_name(name, 'class', separator='_')}.pt"
        for name in prompt.classes
    ]
    if len(set(targets)) < len(targets):
        targets = [path.with_stem(f"{i}-{path.stem}") for i, path in enumerate(targets, start=1)]
    for path in targets:
        check_output(path, options.overwrite)
    for part, path in zip(split(prompt), targets, strict=True):
        part.save(path, options.overwrite)
        print(f"{path}: {part.classes[0]}")


def _add_out(add: argparse.ArgumentParser) -> None:
    add.add_argument(
        "-o", "--out", type=Path, required=True, metavar="PROMPT.pt", help="Prompt file to write."
    )
