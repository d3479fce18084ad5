"""Inputs of ``train``: images with masks, or a session folder."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ptsam.annotation.folder_layout import next_prompt_path
from napari_ptsam.annotation.session_file import FILE
from napari_ptsam.annotation.session_folder import SessionFolder
from napari_ptsam.cli.remedies import on_command_line
from napari_ptsam.cli.setting_options import options_given
from napari_ptsam.datasets.annotated_planes import AnnotationSet, annotate
from napari_ptsam.datasets.mask_names import pairs_in_folder
from napari_ptsam.datasets.mask_reading import MaskReading
from napari_ptsam.datasets.pairing import pair
from napari_ptsam.errors import InputError
from napari_ptsam.images.addresses import as_location
from napari_ptsam.io.writing import check_output
from napari_ptsam.prompts.library import save_trained
from napari_ptsam.training.presets import PRESETS, training_settings
from napari_ptsam.training.settings import TrainingSettings

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt


def open_source(options: Namespace) -> FromMasks | FromSession:
    """Open what the command line names, and make sure that the result can be written.

    Raises
    ------
    InputError, SessionError, OutputError
        If something is missing, or the result cannot be written.
    """
    if options.masks is None and (options.images / FILE).is_file():
        return FromSession(options)
    return FromMasks(options)


class FromMasks:
    """Images with masks; the prompt goes to a file that the user names."""

    def __init__(self, options: Namespace) -> None:
        where = as_location(options.images)
        if isinstance(where, Path) and not where.exists():
            raise InputError(f"There is no file or folder {where}; check the path.")
        if options.masks is None and not _holds_masks(options.images):
            raise InputError(
                f"Masks are required: {options.images} is no session folder (it holds no {FILE}); "
                "name the folder or stack of masks after it. If they are in the same folder, their "
                "names have _mask or the like after those of the images."
            )
        if options.out is None:
            raise InputError("The name of the prompt file is required: -o OUT.pt.")
        check_output(options.out, options.overwrite)
        self.backbone = ""
        """Name or checkpoint of the backbone that was used before; empty if there is none."""
        self._options = options
        self.target = str(options.out)
        """The prompt file to write, for messages."""
        self.left_out: list[str] = []
        """Why files or planes were left out; known once the annotations have been read."""
        self.settings: TrainingSettings = training_settings(_settings(options, {}))

    def annotations(self, start: Prompt | None) -> AnnotationSet:
        """Return the annotated planes; without ``--classes`` they have the classes of the start."""
        options = self._options
        reading = MaskReading(
            options.classes or (None if start is None else start.classes),
            options.unlabelled,
            options.empty or "refuse",
            options.background,
            bool(options.instances),
        )
        images, masks = pair(
            options.images, options.masks, options.axes, reading.classes, self.left_out
        )
        several = len(images) > 1 or bool(self.left_out)
        left_out = self.left_out if several else None
        return annotate(images, masks, reading, left_out=left_out)

    def save(self, prompt: Prompt) -> Path:
        """Write the prompt, and return its path."""
        return save_trained(prompt, self._options.out, self._options.overwrite)


class FromSession:
    """A session folder; the prompt goes into it unless the user names a file."""

    def __init__(self, options: Namespace) -> None:
        self.left_out: list[str] = []
        """Empty, since planes that cannot be read are reported before the training."""
        for name in ("unlabelled", "empty", "axes", "background", "instances"):
            if getattr(options, name) is not None:
                raise InputError(
                    f"--{name} is for masks; leave it out, since the session {options.images} has its "
                    "own."
                )
        self._options = options
        self._folder = SessionFolder(options.images)
        self._session = session = self._folder.read()
        if options.classes is not None:
            if len(options.classes) != len(session.scheme.classes):
                raise InputError(
                    f"The session has {len(session.scheme.classes)} classes, --classes names "
                    f"{len(options.classes)}; name all of them, or none."
                )
            scheme = replace(session.scheme, classes=options.classes)
            self._session = replace(session, scheme=scheme)
        self.settings: TrainingSettings = training_settings(_settings(options, session.settings))
        self.backbone = str(session.settings.get("backbone") or "")
        """Name of the backbone in the catalogue, or path of a checkpoint; may be empty."""
        if options.out is not None:
            check_output(options.out, options.overwrite)
        else:
            check_output(next_prompt_path(self._folder.path))
        self.target = str(options.out or "the prompt")
        """The prompt file to write, for messages."""
        self._decided: dict[str, bool] = {}

    def annotations(self, start: Prompt | None) -> AnnotationSet:
        """Return the annotated planes; those that cannot be read are reported and left out."""
        for problem in self._session.problems:
            print(f"napari-ptsam: {on_command_line(problem)}", file=sys.stderr)
        annotations = self._folder.annotation_set(
            self._session, self.settings.held_out, self.settings.seed
        )
        held_out = annotations.held_out or frozenset()
        counted = self._folder.planes_that_count(self._session)
        self._decided = {plane.stem: number in held_out for number, plane in enumerate(counted)}
        return annotations

    def save(self, prompt: Prompt) -> Path:
        """Write the prompt, and return its path; the session records it, and the validation planes."""
        if self._options.out is not None:
            return save_trained(prompt, self._options.out, self._options.overwrite)
        return self._folder.add_trained(prompt, self._decided)


def _holds_masks(folder: Path) -> bool:
    """Return whether a folder holds images with their masks."""
    try:
        return folder.is_dir() and bool(pairs_in_folder(folder)[0])
    except InputError:
        return False


def _settings(options: Namespace, saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return saved settings, replaced by those of the command line where these are given."""
    settings = dict(saved)
    if options.preset is not None:
        settings |= dict.fromkeys(PRESETS[options.preset]) | {"preset": options.preset}
    settings |= options_given(options, TrainingSettings)
    if options.normalize is not None or options.percentiles is not None:
        settings["normalization"] = _normalization(options, saved.get("normalization"))
    return settings


def _normalization(options: Namespace, saved: Any) -> dict[str, Any]:
    saved = saved if isinstance(saved, Mapping) else {}
    mode, limits = options.normalize, options.percentiles
    if mode is None:
        mode = saved.get("mode", "plane")
    if limits and (isinstance(mode, tuple) or mode == "range"):
        raise InputError(
            "A fixed range has no percentiles; leave out --normalize or --percentiles."
        )
    if isinstance(mode, tuple):
        mode, limits = "range", mode
    elif not limits and saved.get("mode") in ("plane", "stack"):
        limits = saved.get("low"), saved.get("high")
    low, high = limits or (None, None)
    return {"mode": mode, "low": low, "high": high}
