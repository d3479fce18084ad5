"""The options of each command."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import get_args

from napari_ptsam.backbones.catalogue import backbone_names
from napari_ptsam.backbones.devices import DEVICES
from napari_ptsam.cli import commands, sharing
from napari_ptsam.cli.backbones import add_backbones_options
from napari_ptsam.cli.segment import segment
from napari_ptsam.cli.segment_options import TO_SEGMENT, add_channels, add_segment_options
from napari_ptsam.cli.setting_options import add_settings, plain
from napari_ptsam.datasets.mask_reading import Empty
from napari_ptsam.io.declaration import settings_of
from napari_ptsam.training.presets import DEFAULT_PRESET, PRESET_HELP, PRESETS
from napari_ptsam.training.settings import Keep, TrainingSettings


def add_train(add: ArgumentParser) -> None:
    """Add the options of ``napari-ptsam train``."""
    add.set_defaults(run=commands.train)
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


def _add_training(add: ArgumentParser) -> None:
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


def add_segment(add: ArgumentParser) -> None:
    """Add the options of ``napari-ptsam segment``."""
    add.set_defaults(run=segment)
    add_segment_options(add)
    _add_machine(add)
    _add_overwrite(add)
    _add_json(add)


def add_evaluate(add: ArgumentParser) -> None:
    """Add the options of ``napari-ptsam evaluate``."""
    add.set_defaults(run=commands.evaluate)
    add.add_argument("prompt", type=Path, metavar="PROMPT.pt")
    _add_annotations(add, classes=False)
    add_channels(add, TO_SEGMENT)
    _add_machine(add)
    _add_json(add)


def add_info(add: ArgumentParser) -> None:
    """Add the options of ``napari-ptsam info``."""
    add.set_defaults(run=commands.info)
    add.add_argument("prompt", type=Path, metavar="PROMPT.pt")
    _add_json(add)


def add_text(add: ArgumentParser) -> None:
    """Add the options of ``napari-ptsam text``."""
    add.set_defaults(run=sharing.write_text)
    add.add_argument("prompt", type=Path, metavar="PROMPT.pt")


def add_import(add: ArgumentParser) -> None:
    """Add the options of ``napari-ptsam import``."""
    add.set_defaults(run=sharing.read_text)
    sharing.add_import_options(add)
    _add_overwrite(add)


def add_export(add: ArgumentParser) -> None:
    """Add the options of ``napari-ptsam export``."""
    add.set_defaults(run=sharing.export)
    sharing.add_export_options(add)
    _add_overwrite(add)


def add_merge(add: ArgumentParser) -> None:
    """Add the options of ``napari-ptsam merge``."""
    add.set_defaults(run=sharing.merge_files)
    sharing.add_merge_options(add)
    _add_overwrite(add)


def add_split(add: ArgumentParser) -> None:
    """Add the options of ``napari-ptsam split``."""
    add.set_defaults(run=sharing.split_file)
    sharing.add_split_options(add)
    _add_overwrite(add)


def add_backbones(add: ArgumentParser) -> None:
    """Add the options of ``napari-ptsam backbones`` and its parts."""
    add_backbones_options(add)


def add_demo(add: ArgumentParser) -> None:
    """Add the options of ``napari-ptsam demo``."""
    add.set_defaults(run=commands.demo)
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


def _add_annotations(add: ArgumentParser, classes: bool = True) -> None:
    masks = (
        "Folder of masks, or of files with outlined objects (ImageJ ROIs, COCO, LabelMe, GeoJSON, "
        "Cellpose), with the same names; or one stack. Not needed if they are in the folder of the "
        "images, with _mask or the like in their names."
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
            "values but the background, and all objects, are foreground.",
        )
    else:
        add.add_argument("images", type=_path_or_address, help="Folder of images, or one stack.")
        add.add_argument("masks", type=Path, nargs="?", help=masks)
    add.add_argument(
        "--background",
        type=int,
        metavar="VALUE",
        help="Mask value of the background. Default: 0, unless the masks look otherwise, which a "
        "message says.",
    )
    add.add_argument(
        "--instances",
        action="store_const",
        const=True,
        help="Take each mask value as an object. Default: they are, unless they look like classes.",
    )
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


def _add_machine(add: ArgumentParser) -> None:
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


def _add_overwrite(add: ArgumentParser) -> None:
    add.add_argument("--overwrite", action="store_true", help="Replace results that exist.")


def _add_json(add: ArgumentParser) -> None:
    add.add_argument("--json", action="store_true", help="Print one line of JSON.")


def _path_or_address(text: str) -> Path:
    """Return the path of images, from which `as_location` restores an address."""
    return Path(text)


def _normalization(text: str) -> str | tuple[float, float]:
    return text if text in ("plane", "stack") else _two_numbers(text)


def _two_numbers(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not of the form LOW,HIGH") from None
    return low, high


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))
