"""The parser of the command line, which knows the options of one command at a time."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "train": "tune a prompt on annotated images",
        "segment": "apply prompts to images and stacks",
        "evaluate": "measure a prompt on annotated images",
        "info": "describe a prompt file",
        "text": "print a prompt as one line of text",
        "import": "write such a line to a prompt file",
        "export": "write prompt and backbone for other programs",
        "merge": "make one prompt of several, with all their classes",
        "split": "make a prompt of each class",
        "backbones": "list, download and remove backbones",
        "demo": "tune and segment the bundled sample",
    }
)
"""Each command, and what it does. ``add_NAME`` in ``command_options.py`` adds its options."""


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


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command line; ``run`` of its result is the command's function.

    Parameters
    ----------
    command
        The command that is called. The others get no options, since their declarations take
        longer to import than the help of all commands takes to print. None adds all options.
    """
    from napari_ptsam import __version__

    parser = _Parser(
        prog="napari-ptsam",
        description="Few-shot specialisation of SAM by prompt tuning.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parts = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    for name, help_text in COMMANDS.items():
        part = parts.add_parser(name, help=help_text, description=help_text.capitalize() + ".")
        if command in (None, name):
            from napari_ptsam.cli import command_options

            getattr(command_options, f"add_{name}")(part)
    return parser


def _local_path(text: str) -> Path:
    """Return the path of a file or folder; pathlib would take an address for a path."""
    from napari_ptsam.images.addresses import Address, as_location

    if isinstance(as_location(text), Address):
        raise argparse.ArgumentTypeError(
            f"{text} is an address; name a file or folder on this computer"
        )
    return Path(text)
