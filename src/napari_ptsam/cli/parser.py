"""Commands and their options."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, get_args

from napari_ptsam.backbones.catalogue import backbone_names
from napari_ptsam.backbones.devices import DEVICES
from napari_ptsam.cli import commands, sharing
from napari_ptsam.cli.backbones import add_backbones_options
from napari_ptsam.cli.segment import segment
from napari_ptsam.cli.segment_options import TO_SEGMENT, add_channels, add_segment_options
from napari_ptsam.cli.setting_options import add_settings, plain
from napari_ptsam.datasets.annotated_planes import Empty
from napari_ptsam.images.addresses import Address, as_location
from napari_ptsam.io.declaration import settings_of
from napari_ptsam.training.presets import DEFAULT_PRESET, PRESET_HELP, PRESETS
from napari_ptsam.training.settings import Keep, TrainingSettings


class _Parser(argparse.ArgumentParser):
    """A parser that reports errors in one line, and takes -1000,1000 as a value, not as an option."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._negative_number_matcher = re.compile(r"-[\d.][\d.,:e-]*$")
        self.register("type", Path, _local_path)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        options, rest = super().parse_known_args(args, namespace)
        # argparse regards the optional masks as left out as soon as it meets an option.
        if "masks" in options and options.masks is None and rest and not rest[0].startswith("-"):
            options.masks = Path(rest.pop(0))
        return options, rest

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"napari-ptsam: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; ``run`` of its result is the command's function."""
    from napari_ptsam import __version__

    parser = _Parser(
        prog="napari-ptsam",
        description="Few-shot specialisation of SAM by prompt tuning.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parts = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    _add_train(parts)
    _add_segment(parts)
    _add_evaluate(parts)
    _add_info(parts)
    _add_passing_on(parts)
    _add_backbones(parts)
    _add_demo(parts)
    return parser


def _add_train(parts: argparse._SubParsersAction[_Parser]) -> None:
    add = _command(parts, "train", "tune a prompt on annotated images", commands.train)
    _add_annotations(add)
    add.add_argument(
        "-o", "--out", type=Path,
        help="Prompt file to write (.pt). Default for a session: the next number in its prompts.",
    )  # fmt: skip
    add.add_argument(
        "--backbone",
        choices=backbone_names(),
        metavar="NAME",
        help="Backbone to train for, as “backbones list” names it. Default: vit_t, or that of --start.",
    )
    _add_machine(add)
    _add_training(add)
    add.add_argument("--start", type=Path, metavar="PROMPT.pt", help="Continue from this prompt.")
    add.add_argument(
        "--keep",
        choices=get_args(Keep),
        default="better",
        help="Which prompt to write if the training makes that of --start worse: the better one of "
        "the two, or the new one. Default: %(default)s.",
    )
    add.add_argument("--notes", default="", help="Notes to store in the prompt file.")
    add.add_argument("--licence", default="", help="Licence of the prompt, stored in the file.")
    add.add_argument("--author", default="", help="Author of the prompt, stored in the file.")
    _add_overwrite(add)
    _add_json(add)


def _add_training(add: _Parser) -> None:
    """Add the settings; those that are not given come from the preset or the session."""
    helps = " ".join(f"{name}: {text}" for name, text in PRESET_HELP.items())
    add.add_argument(
        "--preset",
        choices=PRESETS,
        help=f"How thoroughly to train. {helps} Default: {DEFAULT_PRESET}.",
    )
    add_settings(add, TrainingSettings)
    add.add_argument(
        "--normalize",
        type=_normalization,
        metavar="plane|stack|LOW,HIGH",
        help=f"{plain(settings_of(TrainingSettings)['normalization'].description)} Default: plane.",
    )
    add.add_argument(
        "--percentiles",
        type=_two_numbers,
        metavar="LOW,HIGH",
        help="The percentiles for --normalize plane and stack. Default: 1,99.8.",
    )


def _add_segment(parts: argparse._SubParsersAction[_Parser]) -> None:
    add = _command(parts, "segment", "apply prompts to images and stacks", segment)
    add_segment_options(add)
    _add_machine(add)
    _add_overwrite(add)
    _add_json(add)


def _add_evaluate(parts: argparse._SubParsersAction[_Parser]) -> None:
    add = _command(parts, "evaluate", "measure a prompt on annotated images", commands.evaluate)
    add.add_argument("prompt", type=Path, metavar="PROMPT.pt")
    _add_annotations(add, classes=False)
    add_channels(add, TO_SEGMENT)
    _add_machine(add)
    _add_json(add)


def _add_info(parts: argparse._SubParsersAction[_Parser]) -> None:
    add = _command(parts, "info", "describe a prompt file", commands.info)
    add.add_argument("prompt", type=Path, metavar="PROMPT.pt")
    _add_json(add)


def _add_passing_on(parts: argparse._SubParsersAction[_Parser]) -> None:
    add = _command(parts, "text", "print a prompt as one line of text", sharing.write_text)
    add.add_argument("prompt", type=Path, metavar="PROMPT.pt")
    add = _command(parts, "import", "write such a line to a prompt file", sharing.read_text)
    sharing.add_import_options(add)
    _add_overwrite(add)
    what = "write prompt and backbone for other programs"
    add = _command(parts, "export", what, sharing.export)
    sharing.add_export_options(add)
    _add_overwrite(add)
    what = "make one prompt of several, with all their classes"
    add = _command(parts, "merge", what, sharing.merge_files)
    sharing.add_merge_options(add)
    _add_overwrite(add)
    add = _command(parts, "split", "make a prompt of each class", sharing.split_file)
    sharing.add_split_options(add)
    _add_overwrite(add)


def _add_backbones(parts: argparse._SubParsersAction[_Parser]) -> None:
    add_backbones_options(_command(parts, "backbones", "list, download and remove backbones", None))


def _add_demo(parts: argparse._SubParsersAction[_Parser]) -> None:
    add = _command(parts, "demo", "tune and segment the bundled sample", commands.demo)
    add.add_argument(
        "--out",
        type=Path,
        default=Path("demo_output"),
        help="Folder to write to. Default: %(default)s.",
    )
    add_settings(add, TrainingSettings, "steps", "embeddings")
    add.add_argument("--device", default="auto", choices=DEVICES)
    _add_overwrite(add)
    _add_json(add)


def _command(
    parts: argparse._SubParsersAction[_Parser], name: str, help_text: str, run: object
) -> _Parser:
    parser = parts.add_parser(name, help=help_text, description=help_text.capitalize() + ".")
    parser.set_defaults(run=run)
    return parser


def _add_annotations(add: _Parser, classes: bool = True) -> None:
    masks = (
        "Folder of masks, or of files with outlined objects (ImageJ ROIs, COCO, LabelMe, GeoJSON, "
        "Cellpose), with the same names; or one stack. 0 is background."
    )
    if classes:
        add.add_argument(
            "images",
            type=_path_or_address,
            help="Folder of images, one stack, or a session folder.",
        )
        add.add_argument("masks", type=Path, nargs="?", help=f"{masks} Not for a session.")
        add.add_argument(
            "--classes",
            type=_names,
            metavar="NAME[,NAME...]",
            help="Names of the mask values 1, 2, ..., or of classes of outlined objects. Default: all "
            "values above 0, and all objects, are foreground.",
        )
    else:
        add.add_argument("images", type=_path_or_address, help="Folder of images, or one stack.")
        add.add_argument("masks", type=Path, help=masks)
    add.add_argument(
        "--unlabelled",
        type=int,
        metavar="VALUE",
        help="Mask value of pixels that are not annotated, and do not count.",
    )
    add.add_argument(
        "--empty",
        choices=get_args(Empty),
        # None: not given, as is right for a session.
        default=None if classes else "background",
        help=f"How to treat masks without foreground. Default: {'refuse' if classes else 'background'}.",
    )
    add.add_argument("--axes", help="Axes of the images, a letter each, for instance CYX.")


def _add_machine(add: _Parser) -> None:
    add.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="File with the weights of the backbone. Default: the file that “backbones” has downloaded.",
    )
    add.add_argument(
        "--device",
        default="auto",
        choices=DEVICES,
        help="Device to compute on. Default: %(default)s.",
    )


def _add_overwrite(add: _Parser) -> None:
    add.add_argument("--overwrite", action="store_true", help="Replace results that exist.")


def _add_json(add: _Parser) -> None:
    add.add_argument("--json", action="store_true", help="Print one line of JSON.")


def _local_path(text: str) -> Path:
    """Return the path of a file or folder; pathlib would take an address for a path."""
    if isinstance(as_location(text), Address):
        raise argparse.ArgumentTypeError(
            f"{text} is an address; name a file or folder on this computer"
        )
    return Path(text)


def _path_or_address(text: str) -> Path:
    """Return the path of images, from which `as_location` restores an address."""
    return Path(text)


def _normalization(text: str) -> str | tuple[float, float]:
    return text if text in ("plane", "stack") else _two_numbers(text)


def _two_numbers(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form LOW,HIGH") from None
    return low, high


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))
