"""``napari-ptsam backbones``: list, download, verify and remove backbones."""

from __future__ import annotations

import argparse
import json
from argparse import Namespace
from typing import Any

from napari_ptsam.backbones.catalogue import CatalogueEntry, catalogue, entry_of, recommended
from napari_ptsam.backbones.devices import gpu_gigabytes, unused_gpu
from napari_ptsam.backbones.files import BackboneFiles
from napari_ptsam.cli.progress_bars import ByteBar
from napari_ptsam.cli.remedies import on_command_line
from napari_ptsam.errors import CheckpointError, InputError


def add_backbones_options(add: argparse.ArgumentParser) -> None:
    """Add the options of the command and its subcommands."""
    parts = add.add_subparsers(dest="part", parser_class=type(add))
    add.set_defaults(run=show, json=False)
    listing = parts.add_parser(
        "list", help="List all backbones, and which are on this machine (the default)."
    )
    listing.add_argument("--json", action="store_true", help="Print JSON.")
    listing.set_defaults(run=show)
    for name, run, what in (
        ("download", download, "Download a backbone; an interrupted download is continued."),
        (
            "verify",
            verify,
            "Compare backbones on this machine with the sizes and hashes of the catalogue.",
        ),
        ("remove", remove, "Delete a backbone from this machine."),
        ("path", path, "Print where a backbone is, or where to put it by hand."),
    ):
        part = parts.add_parser(name, help=what)
        several = name == "verify"
        part.add_argument(
            "name", nargs="?" if several or name == "path" else None, metavar="NAME",
            help="Name of the backbone, as listed." + " Default: all on this machine." * several,
        )  # fmt: skip
        part.set_defaults(run=run)
        if name == "download":
            part.add_argument(
                "--mirror", default="", metavar="URL",
                help="URL of a folder with the files of the catalogue. Default: $NAPARI_PTSAM_MIRROR, or the "
                "sites of their makers.",
            )  # fmt: skip
            part.add_argument("--proxy", default="", metavar="URL", help="Default: $HTTPS_PROXY.")


def show(options: Namespace) -> None:
    """Run ``napari-ptsam backbones list``."""
    files, advised = BackboneFiles(), recommended(gpu_gigabytes())
    entries = catalogue().values()
    if options.json:
        print(json.dumps([_plain(entry, files, entry.name == advised) for entry in entries]))
        return
    for entry in entries:
        state = "here" if files.exists_locally(entry) else entry.megabytes
        mark = "*" if entry.name == advised else " "
        print(f"{mark} {entry.name:20} {state:14} {entry.title} ({entry.licence})")
        print(f"  {'':20} {'':14} {entry.good_for}")
    print(f"* recommended for this machine. Backbones are kept in {files.folder}")
    if advice := unused_gpu():
        print(advice)


def _plain(entry: CatalogueEntry, files: BackboneFiles, advised: bool) -> dict[str, Any]:
    return {
        "name": entry.name,
        "architecture": entry.architecture,
        "title": entry.title,
        "good_for": entry.good_for,
        "licence": entry.licence,
        "source": entry.source,
        "url": entry.url,
        "size": entry.size or None,
        "digest": entry.digest,
        "here": files.exists_locally(entry),
        "path": str(files.path(entry)),
        "recommended": advised,
    }


def download(options: Namespace) -> None:
    """Run ``napari-ptsam backbones download NAME``."""
    from napari_ptsam.backbones.downloads import Network
    from napari_ptsam.backbones.downloads import download as fetch

    entry = entry_of(options.name)
    with ByteBar(entry.size, entry.name) as bar:
        path = fetch(entry, None, Network(options.mirror, options.proxy), bar.show)
    print(f"{path}: {entry.title}, as its makers published it")


def verify(options: Namespace) -> None:
    """Run ``napari-ptsam backbones verify [NAME]``."""
    files = BackboneFiles()
    if options.name is not None:
        entries = [entry_of(options.name)]
    else:
        entries = [e for e in catalogue().values() if files.exists_locally(e) and not e.embedded]
        if not entries:
            print("No backbone but the embedded one is on this machine.")
    wrong = []
    for entry in entries:
        try:
            files.verify(entry)
        except CheckpointError as error:
            wrong.append(on_command_line(error))
        else:
            print(f"{entry.name}: as its makers published it")
    if wrong:
        raise CheckpointError(" ".join(wrong))


def remove(options: Namespace) -> None:
    """Run ``napari-ptsam backbones remove NAME``."""
    entry = entry_of(options.name)
    if not BackboneFiles().remove(entry):
        raise InputError(
            f"The backbone {entry.name} is not on this machine; there is nothing to remove."
        )
    print(f"{entry.name}: removed")


def path(options: Namespace) -> None:
    """Run ``napari-ptsam backbones path [NAME]``."""
    files = BackboneFiles()
    print(files.folder if options.name is None else files.path(entry_of(options.name)))
