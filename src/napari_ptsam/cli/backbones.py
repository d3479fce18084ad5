"""``napari-ptsam backbones``: what there is, what is here, and how it gets here."""

from __future__ import annotations

import argparse
import json
from argparse import Namespace
from typing import Any

from napari_ptsam.backbones.catalogue import CatalogueEntry, catalogue, entry_of, recommended
from napari_ptsam.backbones.files import BackboneFiles
from napari_ptsam.cli.progress_bars import ByteBar
from napari_ptsam.cli.remedies import on_command_line
from napari_ptsam.errors import CheckpointError, InputError


def add_backbones_options(add: argparse.ArgumentParser) -> None:
    """Options of the command and its parts."""
    parts = add.add_subparsers(dest="part", parser_class=type(add))
    add.set_defaults(run=show, json=False)
    listing = parts.add_parser("list", help="what there is, and what is here (default)")
    listing.add_argument("--json", action="store_true", help="one JSON object on standard output")
    listing.set_defaults(run=show)
    for name, run, what in (
        ("download", download, "download one, going on from where an earlier download broke off"),
        ("verify", verify, "compare those that are here with the catalogue's sizes and hashes"),
        ("remove", remove, "delete one from this machine"),
        ("path", path, "where one is, or where to put it by hand"),
    ):
        part = parts.add_parser(name, help=what)
        several = name == "verify"
        part.add_argument(
            "name", nargs="?" if several or name == "path" else None, metavar="NAME",
            help="as listed" + (" (default: all that are here)" if several else ""),
        )  # fmt: skip
        part.set_defaults(run=run)
        if name == "download":
            part.add_argument(
                "--mirror", default="", metavar="URL",
                help="folder with the catalogue's files (default: $NAPARI_PTSAM_MIRROR, else their makers')",
            )  # fmt: skip
            part.add_argument("--proxy", default="", metavar="URL", help="default: $HTTPS_PROXY")


def show(options: Namespace) -> None:
    """``napari-ptsam backbones list``."""
    files, advised = BackboneFiles(), recommended(_gpu_gigabytes())
    entries = catalogue().values()
    if options.json:
        print(json.dumps([_plain(entry, files, entry.name == advised) for entry in entries]))
        return
    for entry in entries:
        state = "here" if files.is_here(entry) else entry.megabytes
        mark = "*" if entry.name == advised else " "
        print(f"{mark} {entry.name:20} {state:14} {entry.title} ({entry.licence})")
        print(f"  {'':20} {'':14} {entry.good_for}")
    print(f"* recommended for this machine. Backbones are kept in {files.folder}")


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
        "here": files.is_here(entry),
        "path": str(files.path(entry)),
        "recommended": advised,
    }


def _gpu_gigabytes() -> float | None:
    from napari_ptsam.backbones.devices import gpu_gigabytes  # torch

    return gpu_gigabytes()


def download(options: Namespace) -> None:
    """``napari-ptsam backbones download NAME``."""
    from napari_ptsam.backbones.downloads import Network
    from napari_ptsam.backbones.downloads import download as fetch

    entry = entry_of(options.name)
    with ByteBar(entry.size, entry.name) as bar:
        found = fetch(entry, None, Network(options.mirror, options.proxy), bar.show)
    print(f"{found}: {entry.title}, as its makers published it")


def verify(options: Namespace) -> None:
    """``napari-ptsam backbones verify [NAME]``."""
    files = BackboneFiles()
    if options.name is not None:
        entries = [entry_of(options.name)]
    else:
        entries = [one for one in catalogue().values() if files.is_here(one) and not one.embedded]
        if not entries:
            print("No backbone but the embedded one is here.")
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
    """``napari-ptsam backbones remove NAME``."""
    entry = entry_of(options.name)
    if not BackboneFiles().remove(entry):
        raise InputError(f"The backbone {entry.name} is not here; there is nothing to remove.")
    print(f"{entry.name}: removed")


def path(options: Namespace) -> None:
    """``napari-ptsam backbones path [NAME]``."""
    files = BackboneFiles()
    print(files.folder if options.name is None else files.path(entry_of(options.name)))
